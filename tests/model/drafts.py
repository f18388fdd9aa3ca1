"""Carries out operations on one file, the way programs do it, and writes down what it read.

    drafts.py FILE NOISE READ < OPERATIONS

An operation is a line of a word and numbers (tests/model/drafts.rs says what they mean). Bytes to
write are those of NOISE at an offset; all bytes that were read go to READ, one after the other.
"""

import mmap
import os
import sys

path, noise_path, read_path = sys.argv[1:]
with open(noise_path, "rb") as file:
    noise = file.read()
reads = open(read_path, "wb")
target = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
# The shared mapping of the whole file as it was when it was mapped.
memory = None


def write_all(descriptor, data, offset):
    while data:
        count = os.pwrite(descriptor, data, offset)
        data, offset = data[count:], offset + count


def unmap():
    global memory
    if memory is not None:
        memory.close()
    memory = None


def mapping(end):
    """Returns a mapping that covers the bytes before end; kept as long as it does."""
    global memory
    if memory is None or len(memory) < end:
        unmap()
        memory = mmap.mmap(target, 0)
    return memory


def in_child(work):
    """Forks while the file is open; the child does the work and ends well."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            sys.stderr.write(f"child: {error}\n")
            os._exit(1)
    if os.waitpid(child, 0)[1] != 0:
        sys.exit("a child failed")


def with_own_descriptor(flags, work):
    descriptor = os.open(path, flags)
    work(descriptor)
    os.close(descriptor)


for line in sys.stdin:
    word, *numbers = line.split()
    offset, length, start = (int(number) for number in numbers)
    data = noise[start : start + length]
    if word == "write":
        write_all(target, data, offset)
    elif word == "read":
        reads.write(os.pread(target, length, offset))
    elif word == "truncate":
        # What is cut off must not be touched through a mapping any more.
        unmap()
        os.ftruncate(target, offset)
    elif word == "append":
        with_own_descriptor(os.O_WRONLY | os.O_APPEND, lambda descriptor: os.write(descriptor, data))
    elif word == "store":
        mapping(offset + length)[offset : offset + length] = data
    elif word == "store_and_sync":
        mapping(offset + length)[offset : offset + length] = data
        memory.flush()
    elif word == "load":
        reads.write(mapping(offset + length)[offset : offset + length])
    elif word == "unmap":
        unmap()
    elif word == "dup":
        copy = os.dup(target)
        write_all(copy, data, offset)
        os.close(copy)
    elif word == "fork":
        in_child(lambda: write_all(target, data, offset))
    elif word == "fork_and_open":
        work = lambda descriptor: write_all(descriptor, data, offset)
        in_child(lambda: with_own_descriptor(os.O_WRONLY, work))
    elif word == "sync":
        os.fsync(target)
    elif word == "stat":
        reads.write(os.fstat(target).st_size.to_bytes(8, "little"))
    elif word == "close_and_store":
        # The last operation: the mapping outlives every descriptor.
        view = mapping(offset + length)
        os.close(target)
        view[offset : offset + length] = data
        unmap()
    else:
        sys.exit(f"unknown operation: {word}")
reads.close()
