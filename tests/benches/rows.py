"""The rows that move files: sending, sending again, receiving, reading; each beside a peer in the same minute."""

import contextlib
import filecmp
import os
import pathlib
import shutil
import threading
import time

from kit import (
    ALICE, BOB, CAROL, MIB, cpu_of_children, fail, forget_pages, in_turn, read_through, run, shell, timed, write_log,
    write_random,
)


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
        add(f"the same to another recipient, {what}", figures["carol"], figures["zstd"], peer, 1.3)
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
