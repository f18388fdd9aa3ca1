"""The registries that the benchmark measures with, and what they tell of themselves."""

import json
import re
import shutil
import urllib.request

from kit import ROOT, run


class Layout:
    """An OCI image-layout directory."""

    name = "layout"

    def __init__(self, work):
        self.work = work
        self.reference = f"oci:{work}/registry"

    def oras(self, verb, tag, *arguments, **options):
        run("oras", verb, "--oci-layout", f"{self.work}/oras:{tag}", *arguments, **options)

    def forget_oras(self):
        shutil.rmtree(self.work / "oras", ignore_errors=True)

    def blob_count(self):
        return len(list((self.work / "registry/blobs/sha256").iterdir()))

    def bytes_fetched(self, mount):
        return mount.read_bytes()

    def cpu(self):
        return 0.0

    def close(self):
        pass


class DockerRegistry:
    """Debian's docker-registry on a loopback port."""

    name = "docker-registry"

    def __init__(self, work):
        self.directory = work / "docker-registry"
        self.host = run(ROOT / "scripts/registry-up", "--dir", self.directory).strip()
        self.reference = f"docker://{self.host}/mail"

    def oras(self, verb, tag, *arguments, **options):
        run("oras", verb, "--plain-http", f"{self.host}/oras:{tag}", *arguments, **options)

    def forget_oras(self):
        pass

    def log(self):
        return (self.directory / "registry.log").read_text(errors="replace")

    def blob_count(self):
        return len(re.findall(r'"PUT /v2/mail/blobs/\S+ HTTP/[\d.]+" 201', self.log()))

    def fetches(self):
        """Returns the sizes of all blobs of the mailbox's repository that were fetched, by the access log."""
        found = re.findall(r'"GET /v2/mail/blobs/\S+ HTTP/[\d.]+" 20\d (\d+)', self.log())
        return [int(size) for size in found]

    def bytes_fetched(self, _mount):
        return sum(self.fetches())

    def get(self, path):
        accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
        with urllib.request.urlopen(urllib.request.Request(f"http://{self.host}/v2/{path}", headers=accept)) as answer:
            return answer.read()

    def first_blob(self):
        """Returns the address of the first layer of the newest message."""
        tags = [tag for tag in json.loads(self.get("mail/tags/list"))["tags"] if tag.startswith("inbox-")]
        manifests = [json.loads(self.get(f"mail/manifests/{tag}")) for tag in tags]
        # A message of one chunk is not what is asked about.
        manifest = max(manifests, key=lambda manifest: len(manifest["layers"]))
        return f"http://{self.host}/v2/mail/blobs/{manifest['layers'][0]['digest']}"

    def close(self):
        run(ROOT / "scripts/registry-up", "--stop", "--dir", self.directory)
