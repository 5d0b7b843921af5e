"""The image, assembled without Docker around a small static program: twice the same, with what a scanner and a kubelet look for."""

import json
import pathlib
import re
import shutil
import tarfile
import tempfile
import zlib

from common import ROOT, attempt, demand, run, say

PROGRAM = "int main(void) { return 0; }"
# What cargo-auditable writes into a section of the binary: https://github.com/rust-secure-code/cargo-auditable
CRATES = {"packages": [
    {"name": "serde", "version": "1.0.229", "source": "crates.io"},
    {"name": "dr-exporter", "version": "0.1.0", "source": "local", "dependencies": [0], "root": True},
]}


def check():
    for needed in ("umoci", "gcc", "objcopy"):
        demand(shutil.which(needed), f"{needed} is missing: apt-get install umoci gcc binutils")
    build = ROOT / "deploy/image/build"
    with tempfile.TemporaryDirectory() as work:
        def path(name):
            return pathlib.Path(work, name)

        path("crates").write_bytes(zlib.compress(json.dumps(CRATES).encode()))
        run("gcc", "-static", "-x", "c", "-o", path("static"), "-", stdin=PROGRAM)
        run("objcopy", "--add-section", f".dep-v0={path('crates')}", path("static"), path("program"))
        for out in ("first", "second"):
            run(build, "--binary", path("program"), "--out", path(out))
        demand(path("first/SHA256SUMS").read_text() == path("second/SHA256SUMS").read_text(), "two builds of one commit differ")
        bom = json.loads(path("first/dr-exporter.cdx.json").read_text())
        demand(any(part.get("purl", "").startswith("pkg:cargo/serde@1.0.229") for part in bom["components"]), "the SBOM does not name a linked crate")
        contents(path("first/dr-exporter.oci.tar"))
        # No loader is in the image, and an SBOM without crates is none.
        for program, words in (("/bin/true", "is not static"), (path("static"), "names no crate")):
            done = attempt(build, "--binary", program, "--out", path("third"))
            demand(done.returncode != 0 and words in done.stderr, f"deploy/image/build takes {program}: {done.stderr}")
    say("deploy/image/build: two images are the same, byte for byte, and hold what they should")


def contents(archive):
    with tarfile.open(archive) as image:
        def blob(digest):
            return image.extractfile("blobs/" + digest.replace(":", "/"))

        index = json.load(image.extractfile("index.json"))
        manifest = json.load(blob(index["manifests"][0]["digest"]))
        about = json.load(blob(manifest["config"]["digest"]))["config"]
        demand(about["User"] == "65532:65532", f"the image runs as {about.get('User')}")
        demand(about["Entrypoint"] == ["/usr/bin/dr-exporter"], f"the image starts {about.get('Entrypoint')}")
        demand("10888/tcp" in about["ExposedPorts"], "the image exposes no port 10888")
        dockerfile = (ROOT / "deploy/image/Dockerfile").read_text()
        labels = set(re.findall(r"org\.opencontainers\.image\.[a-z]+", dockerfile))
        demand(set(about["Labels"]) == labels, "the labels are not those of the Dockerfile")
        demand(not any("$" in value for value in about["Labels"].values()), f"a label was not filled in: {about['Labels']}")
        files = {}
        for layer in manifest["layers"]:
            with tarfile.open(fileobj=blob(layer["digest"])) as tar:
                files.update({member.name: member for member in tar.getmembers() if member.isfile()})
        want = {"usr/bin/dr-exporter": 0o755, "etc/ssl/certs/ca-certificates.crt": 0o644, "usr/share/licenses/dr-exporter/LICENSE": 0o644}
        demand({name: member.mode for name, member in files.items()} == want, f"the image holds {sorted(files)}")
        demand(all((member.uid, member.gid) == (0, 0) for member in files.values()), "a file of the image does not belong to root")
