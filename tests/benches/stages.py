"""Where the CPU time of a send and of a cold read goes, from samples of the mount's process.

The kernel's part of a sample is told by the system call that it is in, our own part by the function; what costs
no CPU (waiting for a disk or a registry) is the difference between the wall time and the rest.
"""

import collections
import re
import shutil
import subprocess
import time

from kit import ALICE, BOB, MIB, read_through, run, timed

# The first that fits decides; kernel functions before our own, since every system call has a caller.
STAGES = [
    ("write into the staged file", r"__x64_sys_pwrite64|__x64_sys_pwritev"),
    ("read the staged file back", r"__x64_sys_pread64|__x64_sys_preadv"),
    ("make durable (fsync)", r"__x64_sys_f(data)?sync"),
    ("write the cache", r"\bvfs_write\b.*(ext4|xfs|btrfs|shmem)|(ext4|xfs|btrfs|shmem|generic)\w*_(perform_|file_|buffered_)?write"),
    ("requests from the kernel (FUSE)", r"fuse_dev_(read|do_read)"),
    ("answers to the kernel (FUSE)", r"fuse_dev_(write|do_write)"),
    ("send to the registry", r"tcp_sendmsg|__x64_sys_(sendto|writev|sendmsg)"),
    ("receive from the registry", r"tcp_recvmsg|__x64_sys_(recvfrom|readv|recvmsg)"),
    ("read files (layout, cache)", r"__x64_sys_read\b|filemap_read|ext4_file_read"),
    ("fresh memory (page faults)", r"exc_page_fault|asm_exc_page_fault|do_anonymous_page"),
    ("hash (SHA-256)", r"sha2|sha256"),
    ("compress", r"ZSTD_(compress|build|entropy|store|seq|split|select|opt)|HUF_compress|HUF_build|HIST_|FSE_(compress|build|normalize)|ZSTD_\w*(compress|Sequences|Block_fast)\w*|XXH"),
    ("decompress", r"ZSTD_decompress|HUF_decompress|ZSTD_decode"),
    ("copy in memory (frame, join)", r"memmove|memcpy|memset"),
    ("sign, database", r"p256|ecdsa|sqlite|aws_lc"),
    ("threads, timers, waiting", r"schedule|futex|epoll|tokio|parking_lot|__x64_sys_"),
]


def classify(stack):
    """Names the stage of one sample; the decoder's names contain the encoder's."""
    if re.search(r"ZSTD_decompress|HUF_decompress|ZSTD_decode", stack):
        return "decompress"
    for name, pattern in STAGES:
        if re.search(pattern, stack):
            return name
    return "everything else"


def sample(pid, action, into):
    """Runs an action while a process is sampled; returns its wall seconds and the samples by stage."""
    recorder = subprocess.Popen(
        ["perf", "record", "-q", "-g", "-F", "499", "-p", str(pid), "-o", into],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    time.sleep(0.5)
    wall = timed(action)
    recorder.terminate()
    recorder.wait()
    script = subprocess.run(["perf", "script", "-i", into, "-F", "comm,ip,sym"], capture_output=True, text=True, check=False)
    stages = collections.Counter(classify(stack) for stack in script.stdout.split("\n\n") if stack.strip())
    return wall, stages


def show(what, size, wall, cpu, stages):
    """Returns a table: the CPU seconds a GiB of each stage."""
    gib, samples = size / (1 << 30), sum(stages.values()) or 1
    lines = [f"\n{what}, {size // MIB} MiB: {wall:.2f} s, of it CPU of the mount {cpu:.2f} s\n", "| stage | CPU s/GiB | share |", "|---|---|---|"]
    for name, count in stages.most_common():
        lines.append(f"| {name} | {cpu * count / samples / gib:.2f} | {100 * count / samples:.0f} % |")
    return "\n".join(lines)


def unavoidable(source, size, work):
    """Returns what the indispensable parts cost, each measured by a program that does only that."""
    gib = size / (1 << 30)
    parts = {
        "copy the file once (cp)": lambda: run("cp", source, work / "copy"),
        "hash it (openssl dgst -sha256)": lambda: run("openssl", "dgst", "-sha256", source),
        "compress it (zstd -1)": lambda: run("zstd", "-q", "-1", "-f", source, "-o", work / "packed.zst"),
        "decompress it (zstd -d)": lambda: run("zstd", "-q", "-d", "-f", work / "packed.zst", "-o", work / "copy"),
    }
    lines = ["\nWhat each part costs alone:\n", "| part | s/GiB |", "|---|---|"]
    lines += [f"| {name} | {timed(action) / gib:.2f} |" for name, action in parts.items()]
    for name in ("copy", "packed.zst"):
        (work / name).unlink()
    return "\n".join(lines)


def tables(people, registry, options, kinds):
    """Returns all tables of one registry, or why there are none."""
    if not shutil.which("perf"):
        return f"{registry.name}: no stages without `perf` (package linux-perf)"
    size, shown = options.mib * MIB, []
    for kind, write in kinds:
        source = people.work / f"stages-{kind}"
        write(source, size)
        alice, bob = people.mounts[ALICE], people.mounts[BOB]
        before = alice.cpu()
        wall, stages = sample(alice.process.pid, lambda: run("cp", source, people.outbox()), people.work / "perf.data")
        shown.append(show(f"{registry.name}: send {kind}", size, wall, alice.cpu() - before, stages))
        inbox = people.arrived(source.name)
        before = bob.cpu()
        wall, stages = sample(bob.process.pid, lambda: read_through(inbox), people.work / "perf.data")
        shown.append(show(f"{registry.name}: cold read of {kind}", size, wall, bob.cpu() - before, stages))
        shown.append(unavoidable(source, size, people.work))
        source.unlink()
    return "\n".join(shown)
