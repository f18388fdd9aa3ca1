"""What every row of the benchmark uses: running and measuring programs, mounts, test data."""

import contextlib
import json
import os
import pathlib
import random
import re
import resource
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MIB = 1 << 20
ALICE, BOB, CAROL = "alice@example.com", "bob@example.com", "carol@example.com"
# Most seconds to wait for a mount, or for a message to arrive.
WAIT_SECS = 120
TICK_SECS = 1 / os.sysconf("SC_CLK_TCK")

os.environ["PATH"] = f"{ROOT}/target/tools/bin:{os.environ['PATH']}"


def fail(text):
    sys.exit(f"bench: {text}")


def run(*command, **options):
    """Runs a command; shows what it said when it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, **options)
    if done.returncode != 0:
        fail(f"{' '.join(words)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def shell(script):
    run("bash", "-c", f"set -e -o pipefail; {script}")


def timed(action):
    """Returns the seconds that an action takes."""
    begin = time.monotonic()
    action()
    return time.monotonic() - begin


def in_turn(turn, *actions):
    """Runs the actions; whoever goes second finds a warmer machine, so they take turns in that as well."""
    for action in actions if turn % 2 == 0 else reversed(actions):
        action()


def cpu_of_children():
    """Returns the CPU seconds, user and system, of all programs that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def cpu_of(pid):
    """Returns the CPU seconds of a process that runs."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK_SECS


def wait_until(condition, what, secs=WAIT_SECS):
    deadline = time.monotonic() + secs
    while not condition():
        if time.monotonic() > deadline:
            fail(f"gave up after {secs} s waiting for {what}")
        time.sleep(0.01)


def read_through(path):
    """Reads a file to its end as `cat` does, without the cost of starting one."""
    buffer = bytearray(MIB)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def read_at(path, offset, size=4096):
    """Reads one block without making the kernel read ahead for more than it needs."""
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        return os.pread(file.fileno(), size, offset)


def forget_pages(path):
    """Drops what the page cache holds of a file, or of all files below a directory."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    for file in files:
        with open(file, "rb") as opened:
            os.fdatasync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def write_random(path, size):
    with open(path, "wb") as file:
        for left in range(size, 0, -MIB):
            file.write(os.urandom(min(MIB, left)))


def log_lines():
    """Returns 16 MiB like a web server's log: it compresses about four to one, and never repeats a line."""
    words = ["checkout", "login", "search", "profile", "cart", "images", "static", "api", "orders", "health"]
    agents = ["Mozilla/5.0 (X11; Linux x86_64)", "curl/8.5.0", "Go-http-client/2.0", "okhttp/4.12.0"]
    # One call for each line's numbers: four calls make the file slower to write than to send.
    bits = random.Random(os.urandom(16)).getrandbits
    clock = 1_700_000_000_000
    lines, size = [], 0
    while size < 16 * MIB:
        luck = bits(96)
        clock += luck & 63
        line = (
            f"{clock} INFO 10.{luck >> 6 & 3}.{luck >> 8 & 255}.{luck >> 16 & 255} GET /{words[luck >> 24 & 7]}/"
            f"{words[luck >> 27 & 7]}?id={luck >> 30 & 0xFFFFFF:x} {(200, 200, 200, 404)[luck >> 54 & 3]} "
            f"{luck >> 56 & 0x3FFF} {luck >> 70 & 1023}ms \"{agents[luck >> 80 & 3]}\"\n"
        )
        lines.append(line)
        size += len(line)
    return "".join(lines).encode()


def write_log(path, size):
    """Writes lines of a log. They repeat after 16 MiB, which is beyond what anybody here compares them with."""
    block = log_lines()
    with open(path, "wb") as file:
        left = size
        while left > 0:
            # Of another length each time, so that no two chunks are alike.
            head = f"{os.urandom(8 + left // len(block) % 64).hex()}\n".encode()
            left -= file.write((head + block)[:left])


class Mount:
    """One person's mount, run in the foreground so that its process is known."""

    def __init__(self, program, home, directory, *flags):
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.log = open(home.with_suffix(".log"), "ab")
        self.process = subprocess.Popen(
            [program, "--home", home, "mount", directory, "--foreground", *flags],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
        )
        wait_until(self.ready, f"the mount of {home.name}")

    def is_mounted(self):
        return f" {self.directory} " in pathlib.Path("/proc/self/mountinfo").read_text()

    def ready(self):
        if self.process.poll() is not None:
            fail(f"mount ended with {self.process.returncode}; it said:\n{pathlib.Path(self.log.name).read_text()}")
        return self.is_mounted()

    def cpu(self):
        return cpu_of(self.process.pid)

    def status(self, field):
        return int(re.search(rf"{field}:\s+(\d+)", pathlib.Path(f"/proc/{self.process.pid}/status").read_text())[1])

    def peak_bytes(self):
        return self.status("VmHWM") * 1024

    def forget_peak(self):
        """Starts the measurement of the peak anew, where the kernel lets us."""
        with contextlib.suppress(OSError):
            pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def sleeps(self):
        """Returns how often each of its threads went to sleep so far."""
        found = {}
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            text = (task / "status").read_text()
            found[task.name] = int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE)[1])
        return found

    def read_bytes(self):
        """Bytes that the process has read from anything: an upper bound of what it read from a layout directory."""
        return int(re.search(r"rchar: (\d+)", pathlib.Path(f"/proc/{self.process.pid}/io").read_text())[1])

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.is_mounted():
            subprocess.run(["umount", "-l", self.directory], check=False)
        self.log.close()


class People:
    """Alice, Bob and Carol, who trust each other and share a registry, and their mounts."""

    def __init__(self, program, reference, work):
        self.program = program
        self.work = work
        self.mounts = {}
        names = (ALICE, BOB, CAROL)
        for person in names:
            self.command(person, "init", "--me", person, "--registry", reference)
            (work / f"{person}.card").write_text(self.command(person, "key", "export"))
        for person in names:
            for other in names:
                if other != person:
                    self.command(person, "trust", "add", work / f"{other}.card", "--yes")

    def command(self, person, *words):
        return run(self.program, "--home", self.work / person, *words)

    def mount(self, person, *flags):
        self.unmount(person)
        flags = flags or ("--poll", "1")
        self.mounts[person] = Mount(self.program, self.work / person, self.work / f"{person}.mnt", *flags)
        return self.mounts[person]

    def unmount(self, person):
        if person in self.mounts:
            self.mounts.pop(person).close()

    def forget_cache(self, person):
        """Mounts anew with nothing in any cache."""
        self.unmount(person)
        for cache in (self.work / person).glob("**/cache"):
            shutil.rmtree(cache, ignore_errors=True)
        return self.mount(person)

    def forget_all(self, person):
        """Makes a person one who has received nothing yet."""
        self.unmount(person)
        for directory in ("state", "cache"):
            shutil.rmtree(self.work / person / directory, ignore_errors=True)

    def outbox(self, recipient=BOB):
        directory = self.mounts[ALICE].directory / "outbox" / recipient
        directory.mkdir(exist_ok=True)
        return directory

    def arrived(self, name, person=BOB):
        path = self.mounts[person].directory / "inbox" / ALICE / name
        wait_until(path.exists, f"{name} in the inbox of {person}")
        return path

    def close(self):
        for person in list(self.mounts):
            self.unmount(person)
