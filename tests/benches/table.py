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


def render(row):
    """Returns one line of the table."""
    ours, beside, target = statistics.median(row["ours"]), "", row["target"]
    measured = ours
    if row["beside"]:
        beside = f"{shown(statistics.median(row['beside']), row['unit'])} ({row['peer']})"
        # Of each turn, since only what ran in the same minute can be compared.
        measured = statistics.median(one / other for one, other in zip(row["ours"], row["beside"]))
    ratio = f"{measured:.2f}" if row["beside"] else ""
    wanted, met = "", ""
    if target is not None:
        wanted = f"{target:.2f}" if row["beside"] else shown(target, row["unit"])
        met = "yes" if measured <= target else "**no**"
    what = row["what"] + (f" ({row['note']})" if row["note"] else "")
    return f"| {what} | {row['registry']} | {shown(ours, row['unit'])} | {beside} | {ratio} | {wanted} | {met} |"
