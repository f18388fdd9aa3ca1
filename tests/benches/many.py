"""The rows of large numbers: an inbox with many messages, a repository with many tags of other people."""

import bisect
import contextlib
import http.server
import json
import os
import subprocess
import threading
import urllib.parse
import urllib.request

from kit import ALICE, BOB, CAROL, MIB, fail, run, timed, wait_until

# Tags in a page, as most registries have it.
PAGE_COUNT = 1000


def inbox(people, table, options):
    """Many small messages wait: the first mount lists all of them; `ls` is answered from memory."""
    count = options.messages
    directory = people.work / "many"
    directory.mkdir()
    files = [directory / f"note-{index:06}" for index in range(count)]
    for index, file in enumerate(files):
        file.write_text(f"{index}\n")
    took = timed(lambda: people.command(ALICE, "send", "--to", CAROL, *files))
    table.add(f"send {count} files of a few bytes", [took / count], note="each, one `send` of all")

    listed = people.work / f"{CAROL}.mnt" / "inbox" / ALICE
    wanted = {file.name for file in files}

    def first_mount():
        people.mount(CAROL)
        wait_until(lambda: listed.exists() and wanted <= set(os.listdir(listed)), f"{count} messages")

    table.add(f"first mount until all of {count} are listed", [timed(first_mount)])
    ours, theirs = [], []
    for _ in range(options.rounds):
        ours.append(timed(lambda: run("ls", "-l", listed)))
        theirs.append(timed(lambda: run("ls", "-l", directory)))
    table.add(f"ls -l of {count}", ours, theirs, "local directory")
    memory = people.mounts[CAROL].peak_bytes()
    table.add(f"peak memory with {count} in the inbox", [memory], target=256 * MIB, unit="B")
    people.unmount(CAROL)


class Tags(http.server.BaseHTTPRequestHandler):
    """As much of a registry as listing tags needs: sorted pages with links."""

    protocol_version = "HTTP/1.1"
    names = []
    page_count = 0

    def do_GET(self):  # noqa: N802 (the name is given)
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/v2/":
            return self.answer({})
        if not url.path.endswith("/tags/list"):
            return self.answer({"errors": [{"code": "NOT_FOUND"}]}, status=404)
        query = dict(urllib.parse.parse_qsl(url.query))
        size = min(int(query.get("n", PAGE_COUNT)), PAGE_COUNT)
        start = bisect.bisect_right(Tags.names, query.get("last", ""))
        page = Tags.names[start:start + size]
        Tags.page_count += 1
        following = None
        if page and start + size < len(Tags.names):
            following = f"{url.path}?{urllib.parse.urlencode({'n': size, 'last': page[-1]})}"
        return self.answer({"name": "mail", "tags": page}, following)

    def answer(self, content, following=None, status=200):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if following:
            self.send_header("Link", f'<{following}>; rel="next"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words):
        """Says nothing."""


@contextlib.contextmanager
def many_tags(count):
    """Serves a repository with `count` tags of other people, half of them before `inbox-` and half after."""
    half = count // 2
    Tags.names = [f"app-{index:08}" for index in range(half)] + [f"web-{index:08}" for index in range(count - half)]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tags)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


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


def tags(people, table, options):
    """A look into a repository with many tags of other people, by a program that has never seen it."""
    count = options.tags
    ours, theirs, pages, peaks = [], [], [], []
    with many_tags(count) as host:
        for turn in range(options.rounds):
            home = people.work / f"tags-{turn}"
            run(people.program, "--home", home, "init", "--me", BOB, "--registry", f"docker://{host}/mail")
            Tags.page_count = 0
            ours.append(timed(lambda: peaks.append(run_measured(people.program, "--home", home, "ls"))))
            pages.append(Tags.page_count)
            Tags.page_count = 0
            theirs.append(timed(lambda: every_page(host)))
            if Tags.page_count != -(-count // PAGE_COUNT):
                fail(f"the peer has fetched {Tags.page_count} pages")
    if min(pages) == 0:
        fail("`ls` has not asked for the tags")
    table.add(f"poll of {count} tags of other people", ours, theirs, "every page, by Python")
    table.add(f"pages fetched for it, of {count // PAGE_COUNT}", pages, unit="")
    table.add("peak memory of it", peaks, target=256 * MIB, unit="B")
