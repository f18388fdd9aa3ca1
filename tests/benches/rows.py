"""The rows that move files: sending, sending again, receiving, reading; each beside a peer in the same minute."""

import contextlib
import filecmp
import os
import pathlib
import random
import shutil
import statistics
import threading
import time

from kit import (
    ALICE, BOB, CAROL, MIB, cpu_of_children, fail, forget_pages, read_at, read_through, run, shell, timed,
    write_log, write_random,
)

# A reader that fetches ahead on its own must be seen doing it before the fetched bytes are counted.
SETTLE_SECS = 1.0
# How long an idle mount is watched.
IDLE_SECS = 20


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


def in_turn(turn, *actions):
    """Runs the actions; whoever goes second finds a warmer machine, so they take turns in that as well."""
    for action in actions if turn % 2 == 0 else reversed(actions):
        action()


def copy_slowly_enough_to_tell(source, target):
    """Copies as `cp` does; returns the seconds of the whole and of the close alone."""
    begin = time.monotonic()
    with open(source, "rb", buffering=0) as reader:
        writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        buffer = memoryview(bytearray(MIB))
        while length := reader.readinto(buffer):
            os.write(writer, buffer[:length])
        written = time.monotonic()
        os.close(writer)
    end = time.monotonic()
    return end - begin, end - written


class Files:
    """The rows of one registry that move files."""

    def __init__(self, people, registry, table, options):
        self.people, self.registry, self.table, self.options = people, registry, table, options
        self.work = people.work
        self.is_layout = registry.name == "layout"

    def send(self, kind):
        """Sends N different files of one kind, in turn with a peer; sends one again; receives each."""
        write = {"random": write_random, "log": write_log}[kind]
        size = self.options.mib * MIB
        gib = size / (1 << 30)
        figures = {}

        def note(name, value):
            figures.setdefault(name, []).append(value)

        for turn in range(self.options.rounds):
            name = f"{kind}-{turn}"
            source = self.work / name
            write(source, size)
            os.sync()
            alice = self.people.mounts[ALICE]

            def send_ours():
                before = alice.cpu()
                whole, close = copy_slowly_enough_to_tell(source, self.people.outbox() / name)
                note("send", whole)
                note("close", close / whole)
                note("send cpu", (alice.cpu() - before) / gib)

            def send_oras():
                before = cpu_of_children()
                note("oras push", timed(lambda: self.registry.oras("push", name, name, cwd=self.work)))
                note("oras cpu", (cpu_of_children() - before) / gib)

            def compress_and_hash():
                note("zstd", timed(lambda: shell(f"zstd -q -1 -c {source} | openssl dgst -sha256")))

            in_turn(turn, send_ours, send_oras)
            compress_and_hash()
            blobs = self.registry.blob_count()
            before = alice.cpu()
            note("again", timed(lambda: run("cp", source, self.people.outbox() / f"{name}-again")))
            note("again cpu", (alice.cpu() - before) / gib)
            note("carol", timed(lambda: run("cp", source, self.people.outbox(CAROL) / name)))
            # Each has a bundle of its own, and in a layout its manifests and the referrers index are blobs, too.
            note("chunks again", max(0, self.registry.blob_count() - blobs - (10 if self.is_layout else 4)))
            self.receive(turn, kind, name, source, note)
            source.unlink()
            self.registry.forget_oras()

        what = f"{self.options.mib} MiB {kind}"
        add = self.table.add
        peer = "zstd -1, openssl dgst"
        wall = {"random": 1.0, "log": 0.5}[kind]
        if self.is_layout:
            add(f"cp into outbox/, {what}", figures["send"], figures["zstd"], peer, 1.3 if kind == "log" else None)
            add(f"cp into outbox/, {what}", figures["send"], figures["oras push"], "oras push")
        else:
            add(f"cp into outbox/, {what}", figures["send"], figures["oras push"], "oras push", wall)
        add(f"its CPU time, {what}", figures["send cpu"], figures["oras cpu"], "oras push", unit="s/GiB",
            note="target 2 s/GiB for random" if kind == "random" and not self.is_layout else "")
        add(f"close after the last byte, {what}", figures["close"], target=0.10, unit="of the copy")
        add(f"the same again, {what}", figures["again"], figures["zstd"], peer, 1.3)
        add(f"the same to somebody else, {what}", figures["carol"], figures["zstd"], peer, 1.3)
        add(f"chunks uploaded for both, {what}", figures["chunks again"], target=0, unit="")
        add(f"cold cp out of inbox/, {what}", figures["pull"], figures["pull peer"], self.pull_peer(),
            1.3 if self.is_layout else 0.8)
        add(f"its CPU time, {what}", figures["pull cpu"], unit="s/GiB")
        add(f"warm re-read, {what}", figures["warm"], figures["local"], "local file", 1 / 0.9)
        add(f"from the disk cache, page cache empty, {what}", figures["disk"], figures["local cold"], "local file", 1 / 0.7)

    def pull_peer(self):
        return "openssl dgst, zstd -d" if self.is_layout else "oras pull"

    def receive(self, turn, kind, name, source, note):
        """Receives a file in turn with a peer, and reads it again, warm and from the disk cache."""
        inbox = self.people.arrived(name)
        bob = self.people.mounts[BOB]
        received, pulled = self.work / "received", self.work / "pulled"
        packed = self.work / "packed.zst"
        gib = source.stat().st_size / (1 << 30)
        if self.is_layout:
            run("zstd", "-q", "-1", source, "-o", packed)
        os.sync()

        def receive_ours():
            before = bob.cpu()
            note("pull", timed(lambda: run("cp", inbox, received)))
            note("pull cpu", (bob.cpu() - before) / gib)

        def receive_peer():
            if self.is_layout:
                script = f"openssl dgst -sha256 {packed}; zstd -q -d {packed} -o {pulled}"
                note("pull peer", timed(lambda: shell(script)))
            else:
                note("pull peer", timed(lambda: self.registry.oras("pull", name, "--output", pulled)))

        in_turn(turn, receive_ours, receive_peer)
        for copy in (received, pulled if self.is_layout else pulled / name):
            if not filecmp.cmp(source, copy, shallow=False):
                fail(f"{copy} differs from what was sent")
        in_turn(
            turn,
            lambda: note("warm", timed(lambda: read_through(inbox))),
            lambda: note("local", timed(lambda: read_through(source))),
        )
        received.unlink()
        packed.unlink(missing_ok=True)
        shutil.rmtree(pulled, ignore_errors=True)
        pathlib.Path(pulled).unlink(missing_ok=True)

        # Memory forgets with the process, the page cache when it is told to; the disk cache stays.
        self.people.unmount(BOB)
        for cache in (self.work / BOB).glob("**/cache"):
            forget_pages(cache)
        forget_pages(source)
        self.people.mount(BOB)
        inbox = self.people.arrived(name)
        note("disk", timed(lambda: read_through(inbox)))
        note("local cold", timed(lambda: read_through(source)))

    def large(self):
        """One large message: memory while it is sent; its first and other 4 KiB, never read before."""
        size = self.options.large_mib * MIB
        what = f"{self.options.large_mib} MiB"
        source = self.work / "large"
        write_random(source, size)
        with open(source, "rb") as file:
            head = file.read(4096)
        os.sync()
        alice = self.people.mount(ALICE)
        run("cp", source, self.people.outbox())
        self.table.add(f"peak memory of the mount, sending {what} random", [alice.peak_bytes()], target=256 * MIB, unit="B")
        self.people.arrived("large")

        figures = {name: [] for name in ("first", "fetched", "chunk", "random", "blobs")}
        chunk = None if self.is_layout else self.registry.first_blob()
        blobs = lambda: 0 if self.is_layout else len(self.registry.fetches())
        for turn in range(self.options.rounds):
            bob = self.people.forget_cache(BOB)
            inbox = self.people.arrived("large")
            time.sleep(SETTLE_SECS)
            before, blobs_before = self.registry.bytes_fetched(bob), blobs()

            def first():
                begin = time.monotonic()
                with open(inbox, "rb", buffering=0) as file:
                    got = file.read(4096)
                figures["first"].append(time.monotonic() - begin)
                if got != head:
                    fail("the first 4 KiB differ from what was sent")

            def one_chunk():
                if self.is_layout:
                    script = f"head -c 8388608 {source} | openssl dgst -sha256"
                else:
                    script = f"curl -sS {chunk} | openssl dgst -sha256"
                figures["chunk"].append(timed(lambda: shell(script)))

            in_turn(turn, first, one_chunk)
            time.sleep(SETTLE_SECS)
            # The peer fetched one of them.
            figures["fetched"].append(self.registry.bytes_fetched(bob) - before - (0 if self.is_layout else 8 * MIB))
            figures["blobs"].append(blobs() - blobs_before - (0 if self.is_layout else 1))
            at = random.randrange(16 * MIB, size - MIB) if size > 32 * MIB else size - MIB
            figures["random"].append(timed(lambda: read_at(inbox, at)))
        peer = "8 MiB, hashed" if self.is_layout else "curl of a chunk, hashed"
        add = self.table.add
        add(f"first 4 KiB of {what}", figures["first"], figures["chunk"], peer, 1.5)
        add(f"4 KiB in the middle of {what}", figures["random"], figures["chunk"], peer, 1.5)
        add("bytes fetched for the first", figures["fetched"], target=8.5 * MIB, unit="B",
            note="all that the process read" if self.is_layout else "by the access log")
        if not self.is_layout:
            add("blobs fetched for the first", figures["blobs"], target=1, unit="")
        source.unlink()

    def readers(self):
        """Four readers of four cold messages beside one reader of one."""
        size = self.options.mib * MIB // 4
        names = [f"reader-{index}" for index in range(5)]
        for name in names:
            write_random(self.work / name, size)
            run("cp", self.work / name, self.people.outbox())
            (self.work / name).unlink()
        four, one = [], []
        for turn in range(self.options.rounds):
            self.people.forget_cache(BOB)
            paths = [self.people.arrived(name) for name in names]

            def read_four():
                threads = [threading.Thread(target=read_through, args=(path,)) for path in paths[:4]]
                begin = time.monotonic()
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                four.append(time.monotonic() - begin)

            in_turn(turn, read_four, lambda: one.append(timed(lambda: read_through(paths[4]))))
        # The time of four is at most 4 / 1.5 of the time of one when they are 1.5 times as fast together.
        self.table.add(f"four cold readers, {size // MIB} MiB each", four, one, "one reader", 4 / 1.5)

    def memory(self):
        """Peak memory while 64 files are open and all are read from."""
        count, size = 64, self.options.open_mib * MIB
        for index in range(count):
            source = self.work / f"open-{index}"
            write_random(source, size)
            run("cp", source, self.people.outbox())
            source.unlink()
        bob = self.people.forget_cache(BOB)
        paths = [self.people.arrived(f"open-{index}") for index in range(count)]
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(open(path, "rb", buffering=0)) for path in paths]
            for _ in range(size // MIB):
                for file in files:
                    file.read(MIB)
            peak = bob.peak_bytes()
        self.table.add(f"peak memory, {count} open files read in turn", [peak], target=(256 + 256) * MIB, unit="B",
                       note="of it 256 MiB are the cache")

    def idle(self):
        """What a mount costs that nobody uses."""
        bob = self.people.mount(BOB, "--poll", "5")
        time.sleep(2)
        cpu, wakes = bob.cpu(), bob.wake_ups()
        time.sleep(IDLE_SECS)
        percent = (bob.cpu() - cpu) * 100 / IDLE_SECS
        wakes = (bob.wake_ups() - wakes) / IDLE_SECS
        self.people.mount(BOB)
        self.table.add("idle mount, --poll 5", [percent], target=0.1, unit="% CPU", note="ticks of 10 ms")
        self.table.add("idle mount, --poll 5", [wakes], unit="wake-ups/s")
