"""The rows of large numbers: an inbox with many messages, a repository with many tags of other people."""

import contextlib
import json
import os
import subprocess
import time
import urllib.request

import simulated
from kit import ALICE, BOB, CAROL, MIB, People, fail, run, timed, wait_until
from simulated import PAGE_COUNT

# Most seconds until a first mount has listed all that waits.
INBOX_WAIT_SECS = 600


def send(people, _registry, table, options):
    """Sends many small files in one call."""
    count = options.messages
    files = small_files(people.work / "many", count)
    took = timed(lambda: people.command(ALICE, "send", "--to", CAROL, *files))
    table.add(f"send {count} files of a few bytes", [took / count], note="each, one `send` of all")


def small_files(directory, count):
    directory.mkdir()
    files = [directory / f"note-{index:06}" for index in range(count)]
    for index, file in enumerate(files):
        file.write_text(f"{index}\n")
    return files


def inbox(program, work, count, rounds):
    """Lets `count` messages wait in a simulated registry; returns the figures of one who mounts, and mounts again."""
    small_files(work / "local", count)
    (work / "note").write_text("a message like all the others\n")
    figures = {}
    note = lambda name, value: figures.setdefault(name, []).append(value)
    with contextlib.ExitStack() as stack:
        people = People(program, f"oci:{work}/template", work)
        people.command(ALICE, "send", "--to", CAROL, work / "note")
        repository = simulated.Messages(work / "template", work / ALICE / "config/key.pem", count)
        host = stack.enter_context(simulated.serving(repository))
        stack.callback(people.close)
        for _ in range(rounds):
            people.forget_all(CAROL)
            peaks = []
            for which in ("first", "second"):
                people.unmount(CAROL)
                begin = time.monotonic()
                carol = people.mount(CAROL, "--registry", f"docker://{host}/mail", "--poll", "60")
                run("ls", "-l", carol.directory / "inbox")
                note(f"{which} answer", time.monotonic() - begin)
                status = carol.directory / ".dockercomms/status.json"
                listed = lambda: json.loads(status.read_text())["inbox_count"] == count
                wait_until(listed, f"{count} messages", secs=INBOX_WAIT_SECS)
                note(which, time.monotonic() - begin)
                peaks.append(carol.peak_bytes())
            # The kernel knows nothing of the second mount yet.
            for temperature in ("new", "warm"):
                note(f"ls {temperature}", timed(lambda: run("ls", "-l", carol.directory / "inbox" / ALICE)))
                note(f"ls {temperature} local", timed(lambda: run("ls", "-l", work / "local")))
            note("peak", max(*peaks, carol.peak_bytes()))
    return figures


def waiting(people, _registry, table, options):
    """Many messages wait: a mount answers at once and fills; `ls` is answered from memory."""
    count, rounds = options.waiting, options.rounds
    work = people.work / "waiting"
    work.mkdir()
    figures = inbox(people.program, work, count, rounds)
    add = table.add
    add(f"first mount, {count} messages waiting: until `ls` answers", figures["first answer"], target=2)
    add(f"first mount until all of {count} are listed", figures["first"], target=60)
    add(f"second mount until all of {count} are listed", figures["second"], target=1)
    for temperature, what in (("new", "just mounted"), ("warm", "warm")):
        ours, local = (figures[f"ls {temperature}{whose}"] for whose in ("", " local"))
        add(f"ls -l of {count}, {what}", ours, local, "local directory", target=3)
    add(f"peak memory with {count} in the inbox", figures["peak"], target=256 * MIB, unit="B")


def every_page(host):
    """Lists all tags as a client would that knows no better."""
    path = f"/v2/mail/tags/list?n={PAGE_COUNT}"
    while path:
        with urllib.request.urlopen(f"http://{host}{path}") as answer:
            answer.read()
            link = answer.headers.get("Link", "")
        path = link.split(">")[0].lstrip("<") if link else None


def run_measured(*command):
    """Runs a program; returns its peak memory in bytes."""
    words = [str(word) for word in command]
    child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _pid, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        fail(f"{command[-1]} ended with {child.returncode}")
    return usage.ru_maxrss * 1024


def tags(people, _registry, table, options):
    """A look into a repository with many tags of other people, by a program that has never seen it."""
    count = options.tags
    ours, theirs, pages, peaks = [], [], [], []
    repository = simulated.of_other_people(count)
    with simulated.serving(repository) as host:
        for turn in range(options.rounds):
            home = people.work / f"tags-{turn}"
            run(people.program, "--home", home, "init", "--me", BOB, "--registry", f"docker://{host}/mail")
            repository.page_count = 0
            ours.append(timed(lambda: peaks.append(run_measured(people.program, "--home", home, "ls"))))
            pages.append(repository.page_count)
            repository.page_count = 0
            theirs.append(timed(lambda: every_page(host)))
            if repository.page_count != -(-count // PAGE_COUNT):
                fail(f"the peer has fetched {repository.page_count} pages")
    if min(pages) == 0:
        fail("`ls` has not asked for the tags")
    table.add(f"poll of {count} tags of other people", ours, theirs, "every page, by Python")
    table.add(f"pages fetched for it, of {count // PAGE_COUNT}", pages, unit="")
    table.add("peak memory of it", peaks, target=256 * MIB, unit="B")
