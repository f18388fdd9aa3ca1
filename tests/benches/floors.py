"""What the steps of a transfer take at least on this machine: each alone, on one core, with stock tools."""

import os
import statistics

from kit import MIB, forget_pages, run, shell, timed, write_log, write_random
from table import header, shown, spread


def measure(work, options):
    """Returns each floor and its seconds per GiB, one for each round."""
    random, log = work / "random", work / "log"
    found = {}

    def note(what, action):
        os.sync()
        found.setdefault(what, []).append(timed(action) / (options.mib / 1024))

    write_random(random, options.mib * MIB)
    write_log(log, options.mib * MIB)
    for turn in range(options.rounds):
        # The copies of all rounds stay: the pages of one that was removed would be used again.
        copy = work / f"copy-{turn}"
        dd = lambda *words: run("dd", "bs=1M", *words)
        note("SHA-256 (openssl dgst)", lambda: run("openssl", "dgst", "-sha256", random))
        note("zstd -1 of a log", lambda: shell(f"zstd -q -1 --single-thread -c {log} > /dev/null"))
        note("a copy into fresh page cache (dd)", lambda: dd(f"if={random}", f"of={copy}"))
        note("a copy into the same pages again", lambda: dd(f"if={random}", f"of={copy}", "conv=notrunc"))
        note("a read from the page cache", lambda: dd(f"if={random}", "of=/dev/null"))
        forget_pages(copy)
        note("a read past the page cache (iflag=direct)", lambda: dd(f"if={copy}", "of=/dev/null", "iflag=direct"))
    return list(found.items())


def render(floors):
    """Returns the table of the floors."""
    show = lambda value: shown(value, "s/GiB")
    lines = [f"| {what} | {show(statistics.median(values))} | {spread(values, show)} |" for what, values in floors]
    return header("floors of this machine, on one core", "median", "spread") + "\n".join(lines)
