"""The figures of one run, and how they are shown."""

import statistics

from kit import MIB


class Table:
    """The figures of one registry."""

    def __init__(self, registry, options):
        self.registry = registry
        self.options = options
        self.rows = []

    def add(self, what, ours, beside=None, peer="", target=None, unit="s", note=""):
        """Adds a row. `target` is the largest ratio to the peer, or the largest value where there is none."""
        row = {
            "what": what, "registry": self.registry, "unit": unit, "ours": list(ours), "beside": list(beside or []),
            "peer": peer, "target": target, "note": note,
        }
        self.rows.append(row)
        return row


def shown(value, unit):
    if unit == "B":
        return f"{value / MIB:.1f} MiB"
    if unit != "s":
        return f"{value:.2f} {unit}".strip()
    return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value:.2f} s"


def spread(values, show):
    """Returns the smallest and the largest of several values; nothing of a single one."""
    if len(values) < 2:
        return ""
    low, high = show(min(values)), show(max(values))
    unit = high.partition(" ")[2]
    return f"{low.removesuffix(f' {unit}')}-{high}"


def render(row):
    """Returns one line of the table."""
    unit, target = row["unit"], row["target"]
    ours, beside, ratio = statistics.median(row["ours"]), "", ""
    measured, values, show = ours, row["ours"], lambda value: shown(value, unit)
    if row["beside"]:
        beside = f"{show(statistics.median(row['beside']))} ({row['peer']})"
        # Of each turn, since only what ran in the same minute can be compared.
        values, show = [one / other for one, other in zip(row["ours"], row["beside"])], lambda value: f"{value:.2f}"
        measured = statistics.median(values)
        ratio = show(measured)
    wanted, met = "", ""
    if target is not None:
        wanted = show(target)
        met = "yes" if measured <= target else "**no**"
    what = row["what"] + (f" ({row['note']})" if row["note"] else "")
    cells = [what, row["registry"], shown(ours, unit), beside, ratio, spread(values, show), wanted, met]
    return f"| {' | '.join(cells)} |"


def header(*columns):
    return f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|\n"
