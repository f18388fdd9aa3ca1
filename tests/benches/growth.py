"""How the times grow: with the size of a file, beside oras, and with the number of messages that wait.

The inboxes are on a simulated registry, since to publish a hundred thousand messages takes longer than to receive
them; the files are on docker-registry.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time

import many
from kit import ALICE, BOB, MIB, ROOT, People, in_turn, run, timed, write_random
from registries import DockerRegistry
from table import header, shown, spread

SCRIPT = ROOT / "tests/benches/growth.gnuplot"
# The columns of each plot, as they stand in its file of figures and in the table.
SIZES = ["MiB", "cp into outbox/", "oras push", "cold cp out of inbox/", "oras pull"]
INBOXES = [
    "messages", "first mount", "second mount", "ls -l, just mounted", "ls -l, warm", "ls -l of a local directory",
    "peak memory",
]


def rounds_for(number, most, options):
    """What is large varies less and takes longer."""
    return options.rounds if number <= most else 1


def of_size(people, registry, mib, rounds):
    """Returns the seconds of sending and of cold reading random files of a size, ours and those of oras."""
    work = people.work
    found = {name: [] for name in SIZES[1:]}
    note = lambda name, action: found[name].append(timed(action))
    for turn in range(rounds):
        name = f"file-{mib}-{turn}"
        source, received, pulled = work / name, work / "received", work / "pulled"
        write_random(source, mib * MIB)
        os.sync()
        in_turn(
            turn,
            lambda: note("cp into outbox/", lambda: run("cp", source, people.outbox())),
            lambda: note("oras push", lambda: registry.oras("push", name, name, cwd=work)),
        )
        source.unlink()
        people.forget_cache(BOB)
        inbox = people.arrived(name)
        os.sync()
        in_turn(
            turn,
            lambda: note("cold cp out of inbox/", lambda: run("cp", inbox, received)),
            lambda: note("oras pull", lambda: registry.oras("pull", name, "--output", pulled)),
        )
        received.unlink()
        shutil.rmtree(pulled)
    return [mib, *(found[name] for name in SIZES[1:])]


def sizes(program, options, workplace):
    rows = []
    with workplace(options) as (stack, work):
        registry = DockerRegistry(work)
        stack.callback(registry.close)
        people = People(program, registry.reference, work)
        stack.callback(people.close)
        people.mount(ALICE)
        people.mount(BOB)
        for mib in options.growth_mib:
            rows.append(of_size(people, registry, mib, rounds_for(mib, 256, options)))
            print(f"bench: growth: {mib} MiB done", file=sys.stderr)
    return rows


def inboxes(program, options, workplace):
    rows = []
    for count in options.growth_messages:
        with workplace(options) as (_stack, work):
            figures = many.inbox(program, work, count, rounds_for(count, 1000, options))
        rows.append([count, *(figures[name] for name in ("first", "second", "ls new", "ls warm", "ls warm local", "peak"))])
        print(f"bench: growth: {count} messages done", file=sys.stderr)
    return rows


def cell(values, unit):
    """Returns the median, and how far the others are from it."""
    show = lambda value: shown(value, unit)
    others = spread(values, show)
    return show(statistics.median(values)) + (f" ({others})" if others else "")


def as_table(columns, rows):
    units = ["B" if column == "peak memory" else "s" for column in columns[1:]]
    lines = [[str(first), *(cell(values, unit) for values, unit in zip(rest, units))] for first, *rest in rows]
    return header(*columns) + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(into, name, columns, rows):
    """Draws the columns that are seconds, both axes logarithmic, into `name`.png."""
    seconds = [column for column in columns if column != "peak memory"]
    data = into / f"{name}.dat"
    lines = ["\t".join(f'"{column}"' for column in seconds)]
    for first, *rest in rows:
        lines.append("\t".join(str(value) for value in [first, *map(statistics.median, rest[:len(seconds) - 1])]))
    data.write_text("\n".join(lines) + "\n")
    settings = f"data='{data}'; image='{into / name}.png'; columns={len(seconds)}"
    subprocess.run(["gnuplot", "-e", settings, SCRIPT], check=True)


def pictures(source, target):
    """Copies the plots into a directory, and returns the Markdown that shows them there."""
    names = ["growth-size", "growth-inbox"]
    for name in names:
        shutil.copy(source / f"{name}.png", target)
    return "\n".join(f"![{name}]({name}.png)" for name in names)


def measure(program, options, workplace, into):
    """Returns the tables as Markdown and the figures; the plots go into a directory."""
    begin = time.monotonic()
    parts = [
        ("growth-size", SIZES, sizes(program, options, workplace)),
        ("growth-inbox", INBOXES, inboxes(program, options, workplace)),
    ]
    for name, columns, rows in parts:
        draw(into, name, columns, rows)
    text = "\n\n".join(as_table(columns, rows) for _name, columns, rows in parts)
    print(f"bench: growth took {time.monotonic() - begin:.0f} s", file=sys.stderr)
    return text, [{"what": name, "columns": columns, "rows": rows} for name, columns, rows in parts]
