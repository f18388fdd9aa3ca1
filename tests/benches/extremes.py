"""The rows of what is very large, slow on purpose, or does nothing at all."""

import os
import random
import time

from kit import ALICE, BOB, MIB, fail, in_turn, read_at, read_through, run, shell, timed, write_random

# A reader that fetches ahead on its own must be seen doing it before the fetched bytes are counted.
SETTLE_SECS = 1.0
# How long an idle mount is watched, and how long it may calm down before: tokio lets its threads go after 10 s.
IDLE_SECS = 20
CALM_SECS = 12
# The files of the rows about limits take eight seconds, beside which what is not transfer is nothing.
LIMIT_MIB, LIMITED_MIB = 8, 64
# A part of the huge file that is not empty: two whole chunks.
PART = 16 * MIB


def memory_of_a_send(people, _registry, table, options):
    """The peak memory of the mount that sends a large file."""
    source = people.work / "large"
    write_random(source, options.large_mib * MIB)
    alice = people.mount(ALICE)
    run("cp", source, people.outbox())
    people.arrived(source.name)
    what = f"peak memory of the mount, sending {options.large_mib} MiB random"
    table.add(what, [alice.peak_bytes()], target=256 * MIB, unit="B")
    source.unlink()


def write_huge(path, size):
    """Writes a file that is random where it is read, and a hole elsewhere; returns where its middle part is."""
    middle = size // 2 // PART * PART
    with open(path, "wb") as file:
        for start in (0, middle):
            file.seek(start)
            file.write(os.urandom(PART))
        file.truncate(size)
    return middle


def huge(people, registry, table, options):
    """The first 4 KiB, and some in the middle, of a huge message that was never read before."""
    is_layout = registry.name == "layout"
    source = people.work / "huge"
    middle = write_huge(source, options.huge_mib * MIB)
    with open(source, "rb") as file:
        head = file.read(4096)
    run("cp", source, people.outbox())
    people.arrived(source.name)
    figures = {name: [] for name in ("first", "fetched", "chunk", "random", "blobs")}
    chunk = None if is_layout else registry.first_blob()
    blobs = lambda: 0 if is_layout else len(registry.fetches())
    for turn in range(options.rounds):
        bob = people.forget_cache(BOB)
        inbox = people.arrived(source.name)
        time.sleep(SETTLE_SECS)
        before, blobs_before = registry.bytes_fetched(bob), blobs()

        def first():
            begin = time.monotonic()
            with open(inbox, "rb", buffering=0) as file:
                got = file.read(4096)
            figures["first"].append(time.monotonic() - begin)
            if got != head:
                fail("the first 4 KiB differ from what was sent")

        def one_chunk():
            script = f"head -c 8388608 {source}" if is_layout else f"curl -sS {chunk}"
            figures["chunk"].append(timed(lambda: shell(f"{script} | openssl dgst -sha256")))

        in_turn(turn, first, one_chunk)
        time.sleep(SETTLE_SECS)
        # The peer fetched one of them.
        figures["fetched"].append(registry.bytes_fetched(bob) - before - (0 if is_layout else 8 * MIB))
        figures["blobs"].append(blobs() - blobs_before - (0 if is_layout else 1))
        at = middle + random.randrange(PART - 4096)
        figures["random"].append(timed(lambda: read_at(inbox, at)))
    what = f"{options.huge_mib} MiB"
    peer = "8 MiB, hashed" if is_layout else "curl of a chunk, hashed"
    table.add(f"first 4 KiB of {what}", figures["first"], figures["chunk"], peer, 1.5)
    table.add(f"4 KiB in the middle of {what}", figures["random"], figures["chunk"], peer, 1.5)
    table.add("bytes fetched for the first", figures["fetched"], target=8.5 * MIB, unit="B",
              note="all that the process read" if is_layout else "by the access log")
    if not is_layout:
        table.add("blobs fetched for the first", figures["blobs"], target=1, unit="")
    source.unlink()


def limits(people, _registry, table, options):
    """How far from its limit a mount sends and receives; both keep the limit on the bytes of blobs."""
    figures = {"upload": [], "download": []}

    def note(direction, action):
        rate = LIMITED_MIB / timed(action)
        figures[direction].append(abs(rate / LIMIT_MIB - 1))

    for turn in range(options.rounds):
        name = f"limited-{turn}"
        source = people.work / name
        write_random(source, LIMITED_MIB * MIB)
        people.mount(ALICE, "--poll", "1", "--limit-upload", f"{LIMIT_MIB}MiB")
        note("upload", lambda: run("cp", source, people.outbox()))
        people.mount(BOB, "--poll", "1", "--limit-download", f"{LIMIT_MIB}MiB")
        inbox = people.arrived(name)
        note("download", lambda: read_through(inbox))
        source.unlink()
    for direction, off in figures.items():
        what = f"--limit-{direction} {LIMIT_MIB}MiB, {LIMITED_MIB} MiB: rate off by"
        table.add(what, off, target=0.05, unit="of the limit")
    people.mount(ALICE)
    people.mount(BOB)


def idle(people, _registry, table, _options):
    """What an unused mount costs: with a poll every five seconds, and with none."""
    def watch(poll):
        bob = people.mount(BOB, "--poll", str(poll))
        time.sleep(CALM_SECS)
        cpu, sleeps = bob.cpu(), bob.sleeps()
        time.sleep(IDLE_SECS)
        wakes = sum(count - sleeps.get(thread, 0) for thread, count in bob.sleeps().items())
        return (bob.cpu() - cpu) * 100 / IDLE_SECS, wakes

    percent, wakes = watch(5)
    table.add("idle mount, --poll 5", [percent], target=0.1, unit="% CPU", note="ticks of 10 ms")
    table.add("idle mount, --poll 5", [wakes * 5 / IDLE_SECS], unit="wake-ups", note="of all threads, for each poll")
    _percent, wakes = watch(3600)
    table.add(f"idle mount between polls, {IDLE_SECS} s", [wakes], target=0, unit="wake-ups")
    people.mount(BOB)
