"""A registry that is simulated: it answers reads from memory, and has as many tags or messages as are asked for.

The messages are real. The program sends one, and from its manifest and bundle others are made that differ in name,
id and signature, each when it is asked for. A key that signs like this is worth nothing: the nonce is always 1.
"""

import asyncio
import base64
import bisect
import contextlib
import hashlib
import json
import re
import threading
import urllib.parse
import uuid

from kit import run

# Tags in a page, as most registries have it.
PAGE_COUNT = 1000
# The curve P-256: its order, and where its generator lies.
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
GENERATOR_X = 0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def digest_of(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def compact(value):
    """As the program writes JSON."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


class Tags:
    """A repository that has tags, and nothing behind them."""

    def __init__(self, tags):
        self.tags = sorted(tags)
        self.page_count = 0

    def manifest(self, _reference):
        return None

    def blob(self, _digest):
        return None


def of_other_people(count):
    """Returns a repository with `count` tags of other people, half of them before `inbox-` and half after."""
    half = count // 2
    before, after = (f"app-{index:08}" for index in range(half)), (f"web-{index:08}" for index in range(count - half))
    return Tags([*before, *after])


class Messages(Tags):
    """A repository with `count` signed messages like the one in a layout directory that `key` has signed."""

    def __init__(self, layout, key, count):
        read = lambda digest: json.loads((layout / "blobs" / digest.replace(":", "/")).read_bytes())
        entries = {
            entry["annotations"]["org.opencontainers.image.ref.name"]: entry["digest"]
            for entry in json.loads((layout / "index.json").read_bytes())["manifests"]
            if "org.opencontainers.image.ref.name" in entry.get("annotations", {})
        }
        inbox, bundle = (next(tag for tag in entries if tag.startswith(kind)) for kind in ("inbox-", "bundle-"))
        self.message, self.bundle_manifest = read(entries[inbox]), read(entries[bundle])
        self.bundle = read(self.bundle_manifest["layers"][0]["digest"])
        self.statement = json.loads(base64.b64decode(self.bundle["dsseEnvelope"]["payload"]))
        shown = run("openssl", "pkey", "-in", key, "-noout", "-text")
        self.secret = int(re.sub(r"[^0-9a-f]", "", re.search(r"priv:([0-9a-f:\s]+)", shown)[1]), 16)
        self.name = self.message["annotations"]["dockercomms.filename"]
        self.blobs, self.by_tag = {}, {}
        for index in range(count):
            manifest = self.manifest_of(index)
            message_id = self.id_of(index)
            # inbox-<recipient>-<date>-<session>-<message>; the date stays.
            self.by_tag[f"{inbox.rsplit('-', 1)[0]}-{message_id[:8]}"] = (index, False)
            self.by_tag[f"bundle-{digest_of(manifest)[7:19]}-{bundle.split('-', 2)[2]}"] = (index, True)
        super().__init__(self.by_tag)

    @staticmethod
    def id_of(index):
        # A version 4 UUID with the number in front, where the tag shows it.
        return str(uuid.UUID(int=index << 96 | 0x4000_8000_0000_0000_0000, version=4))

    def manifest_of(self, index):
        annotations = self.message["annotations"] | {
            "dockercomms.filename": f"{self.name}-{index:06}", "dockercomms.message.id": self.id_of(index),
        }
        return compact(self.message | {"annotations": annotations})

    def bundle_of(self, index):
        """Returns the manifest of the bundle of a message; its blob can be fetched from then on."""
        message = self.manifest_of(index)
        digest = digest_of(message)
        subject = self.statement["subject"][0] | {"digest": {"sha256": digest[7:]}}
        # Nobody reads these but cosign; that they differ from the message's is no matter.
        payload = compact(self.statement | {"subject": [subject]})
        envelope = self.bundle["dsseEnvelope"] | {
            "payload": base64.b64encode(payload).decode(), "signatures": [{"sig": self.sign(payload)}],
        }
        bundle = compact(self.bundle | {"dsseEnvelope": envelope})
        self.blobs[digest_of(bundle)] = bundle
        layer = self.bundle_manifest["layers"][0] | {"digest": digest_of(bundle), "size": len(bundle)}
        subject = self.bundle_manifest["subject"] | {"digest": digest, "size": len(message)}
        return compact(self.bundle_manifest | {"layers": [layer], "subject": subject})

    def sign(self, payload):
        kind = b"application/vnd.in-toto+json"
        signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
        number = int.from_bytes(hashlib.sha256(signed).digest(), "big")
        first = GENERATOR_X % ORDER
        der = b"".join(self.der_integer(part) for part in (first, (number + first * self.secret) % ORDER))
        return base64.b64encode(bytes([0x30, len(der)]) + der).decode()

    @staticmethod
    def der_integer(number):
        content = number.to_bytes(number.bit_length() // 8 + 1, "big")
        return bytes([2, len(content)]) + content

    def manifest(self, reference):
        index, is_bundle = self.by_tag.get(reference, (None, None))
        if index is None:
            return None
        return self.bundle_of(index) if is_bundle else self.manifest_of(index)

    def blob(self, digest):
        # Each is fetched once.
        return self.blobs.pop(digest, None)


class Connection(asyncio.Protocol):
    """As much of HTTP and of a registry as reading needs."""

    def __init__(self, repository):
        self.repository, self.pending = repository, b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        *requests, self.pending = (self.pending + data).split(b"\r\n\r\n")
        for request in requests:
            method, target = request.split(b" ", 2)[:2]
            self.answer(method == b"HEAD", *self.look_up(urllib.parse.urlsplit(target.decode())))

    def look_up(self, url):
        """Returns the status, the content, its type and more headers."""
        kind, reference = (["", ""] + url.path.split("/"))[-2:]
        if url.path == "/v2/":
            return 200, b"{}", "application/json", ""
        if kind == "tags":
            return self.page(url)
        content = {"manifests": self.repository.manifest, "blobs": self.repository.blob}.get(kind, lambda _: None)(reference)
        if content is None:
            return 404, b'{"errors":[{"code":"NOT_FOUND"}]}', "application/json", ""
        return 200, content, MANIFEST if kind == "manifests" else "application/octet-stream", ""

    def page(self, url):
        query = dict(urllib.parse.parse_qsl(url.query))
        size = min(int(query.get("n", PAGE_COUNT)), PAGE_COUNT)
        tags = self.repository.tags
        start = bisect.bisect_right(tags, query.get("last", ""))
        page, link = tags[start:start + size], ""
        self.repository.page_count += 1
        if page and start + size < len(tags):
            following = urllib.parse.urlencode({"n": size, "last": page[-1]})
            link = f'Link: <{url.path}?{following}>; rel="next"\r\n'
        return 200, compact({"name": "mail", "tags": page}), "application/json", link

    def answer(self, is_head, status, content, kind, headers):
        if status == 200 and kind == MANIFEST:
            headers += f"Docker-Content-Digest: {digest_of(content)}\r\n"
        head = f"HTTP/1.1 {status} -\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n{headers}\r\n"
        self.transport.write(head.encode() + (b"" if is_head else content))


@contextlib.contextmanager
def serving(repository):
    """Serves a repository from a thread; yields the host."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(lambda: Connection(repository), "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.close()
