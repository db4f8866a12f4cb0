"""Builds the page that shows Patchwork in a browser, and measures there (docs/measure.md), and serves it.

  patchwork-web                           # at http://localhost:8000; builds it first if need be, in some minutes
  patchwork-web --build_only              # static files, for any host
  patchwork-web --systems=vid-pw-m4n2     # of other systems

Cameras and threads take a page from localhost or by https. A phone on a cable finds this one at its own localhost:

  adb reverse tcp:8000 tcp:8000
"""

import base64
import functools
import gzip
import hashlib
import http.client
import http.server
import io
import json
import os
import re
import shutil
import sys
import tarfile
import tempfile
import urllib.request
from importlib.metadata import version
from pathlib import Path

import patchwork_tf
from patchwork_tf import cli, files
from patchwork_tf.errors import DataError, UsageError

# The checkout, or patchwork_tf where it is installed: both have these below.
_ROOT = Path(__file__).parents[1]
_SOURCES, _CLIP = _ROOT / "runtime" / "web", _ROOT / "docs" / "photos.mp4"
_SYSTEMS = ("oid-pw-m4n2", "oid-sf", "oid-pw-m4n1", "voc-pw-m4n2", "voc-sf")  # the first is shown

_NPM = "https://registry.npmjs.org/@litertjs"
_LITERT_JS = "2.5.3"
# What LiteRT.js comes in -> SHA-512 of it, as the registry writes it.
_PACKAGES = {
    "core": "PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
    "wasm-utils": "4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
}
_LATE = (".wasm", "_internal.js", ".bin", ".tflite", ".txt")  # endings of files that a page may never need

_FLAGS = cli.Flags()
_FLAGS.string(
    "folder", "Where the page is, or is put; by default build/web in a checkout, else one in the user's cache."
)
_FLAGS.list(
    "systems",
    f"What the page comes with, by default those that it has, else {','.join(_SYSTEMS)}; the first is shown.",
)
_FLAGS.boolean("build_only", "Build the page, and do not serve it.")
_FLAGS.integer("port", "Port on this machine.", default=8000, least=0, most=65535)


def build(folder: str, systems=()) -> Path:
    """Builds the page, unless it is there, of the same sources, packages and systems.

    index.html names the folder in which all else is. The name is a digest of what the page is made of, so that no
    browser mixes two pages; and the folder appears when it is complete.

    The folder is made if it is missing. Systems are by default those of the page that is there, else _SYSTEMS.
    Returns the folder of all else.
    """
    root, index = Path(folder), Path(folder, "index.html")
    old = index.exists() and re.search(r'<base href="(\w{16})/">', index.read_text("utf-8", "replace"))
    if index.exists() and not old:
        raise DataError(f"{folder}: there is another page in it; remove it, or name another folder by --folder")
    if old and not systems and (root / old[1]).exists():
        systems = [entry["name"] for entry in files.read_json(str(root / old[1] / "models/models.json"))]
    systems = tuple(dict.fromkeys(systems or _SYSTEMS))
    page = root / _digest(systems)
    if not page.exists():
        _check(systems)
        files.make_folder(folder)
        with tempfile.TemporaryDirectory(prefix=".", dir=root) as part:
            made = _make(Path(part, page.name), systems)
            if not page.exists():  # else somebody else was faster
                made.rename(page)
    if not old or old[1] != page.name:
        _show(page)
    return page


def _digest(systems) -> str:
    packages = [version(name) for name in ("ai-edge-litert", "keras", "numpy", "tensorflow")]
    digest = hashlib.sha256(repr((systems, packages, _PACKAGES)).encode())
    package = Path(patchwork_tf.__file__).parent
    code = [*package.rglob("*.py"), *Path(__file__).parent.rglob("*.py")]
    for path in sorted({*code, *package.glob("pretrained/*"), *_SOURCES.iterdir(), _CLIP}):
        if path.is_file():
            digest.update(f"{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _check(systems):
    from patchwork_tf.zoo.checkpoints import list_pretrained
    from patchwork_tf.zoo.systems import get_system

    streams = {name: get_system(name).stream for name in list_pretrained()}
    known = [name for name, stream in streams.items() if not (stream.flip or stream.delay)]
    for system in systems:
        if system not in known:
            raise UsageError(f"--systems={system}: the page takes {', '.join(known)}")


def _make(page, systems) -> Path:
    """All that a page is, in a folder that is not there yet."""
    shutil.copytree(_SOURCES, page)
    shutil.copyfile(_CLIP, page / "sample.mp4")
    (page / "models").mkdir()
    _unpack_litert(page / "vendor")
    models = []
    for number, system in enumerate(systems, start=1):
        print(f"{system}: being exported, {number} of {len(systems)}", flush=True)
        models.append(_export(system, page / "models"))
    (page / "models/models.json").write_text(json.dumps(models))
    base = '<base href="./">', f'<base href="{page.name}/">'
    _replace(page / "index.html", *base)
    early = [path.relative_to(page.parent).as_posix() for path in sorted(page.rglob("*.*"))]
    early = [name for name in early if not name.endswith(_LATE)]
    _replace(page / "offline.js", 'PAGE = "", FILES = []', f'PAGE = "{page.name}/", FILES = {json.dumps(early)}')
    return page


def _export(system, folder) -> dict:
    """Puts a system and its golden vectors into a folder; returns what the page's list says of it."""
    from patchwork_tf.export import golden, metadata
    from patchwork_tf.export.exporting import export
    from patchwork_tf.zoo import checkpoints

    path = str(folder / f"{system}.tflite")
    export(checkpoints.load(system), path, verify_steps=10, quantization="float16")
    with tempfile.TemporaryDirectory() as vectors:
        golden.write(path, vectors)
        text, frames = Path(vectors, golden.TEXT).read_text(), Path(vectors, golden.FRAMES).read_bytes()
    (folder / f"{system}.golden.txt").write_text(text)
    # Many systems have the same. The name does not say that they are packed, lest a host unpack them.
    packed = f"frames-{hashlib.sha256(frames).hexdigest()[:8]}.bin"
    (folder / packed).write_bytes(gzip.compress(frames, mtime=0))
    return {"name": system, "reference": metadata.read(path)["reference"], "frames": packed}


def _unpack_litert(folder):
    """Files of LiteRT.js, all in one folder, without those for browsers' newest interfaces."""
    folder.mkdir()
    with tarfile.open(fileobj=io.BytesIO(_package("core"))) as core:
        for member in core:
            is_wanted = re.fullmatch(r"package/(dist/index\.js|wasm/litert_wasm_(?!jspi)\w+\.\w+)", member.name)
            if is_wanted and member.isfile():
                (folder / os.path.basename(member.name)).write_bytes(core.extractfile(member).read())
    with tarfile.open(fileobj=io.BytesIO(_package("wasm-utils"))) as utils:
        (folder / "wasm-utils.js").write_bytes(utils.extractfile("package/dist/index.js").read())
    _replace(folder / "index.js", '"@litertjs/wasm-utils"', '"./wasm-utils.js"')


def _package(name) -> bytes:
    """One of _PACKAGES, from the user's cache or, once, from npm's registry."""
    kept = _cache() / "litertjs" / f"{name}-{_LITERT_JS}.tgz"
    content = kept.read_bytes() if kept.exists() else b""
    if not _is_genuine(name, content):
        address = f"{_NPM}/{name}/-/{kept.name}"
        print(f"{address}: being downloaded", flush=True)
        try:
            with urllib.request.urlopen(address, timeout=60) as response:
                content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise DataError(f"{address} cannot be loaded ({error}); put it into {kept.parent}") from None
        if not _is_genuine(name, content):
            raise DataError(f"{address}: this is another file than it was; somebody may have changed it")
        with files.atomic_file(str(kept)) as file:
            file.write(content)
    return content


def _is_genuine(name, content) -> bool:
    return base64.b64encode(hashlib.sha512(content).digest()).decode() == _PACKAGES[name]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "patchwork_tf"


def _replace(path, old, new):
    before, after = path.read_text("utf-8").split(old)
    path.write_text(before + new + after, "utf-8")


def _show(page):
    """From now on a page is the one that its folder shows; earlier ones go."""
    for name in ("offline.js", "index.html"):
        with files.atomic_file(str(page.parent / name)) as file:
            file.write((page / name).read_bytes())
    for other in page.parent.iterdir():
        if re.fullmatch(r"[0-9a-f]{16}", other.name) and other != page and (other / "models/models.json").exists():
            shutil.rmtree(other)


_TYPES = {".js": "text/javascript", ".wasm": "application/wasm"}  # the machine's own table may be odd


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Files, with the headers that isolate a page, so that WebAssembly may have threads."""

    policy = ""
    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | _TYPES

    def end_headers(self):
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Content-Security-Policy", self.policy)  # workers heed that of their own file
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_request(self, code="-", size="-"):
        pass


def server(folder: str, port: int) -> http.server.ThreadingHTTPServer:
    """A server of the page, for this machine only. DataError if there is none, or the port is taken."""
    try:
        with open(os.path.join(folder, "index.html"), encoding="utf-8") as file:
            policy = re.search(r'Content-Security-Policy" content="([^"]+)"', file.read())[1]
    except (OSError, TypeError):
        raise DataError(f"{folder}: there is no page in it") from None
    handler = functools.partial(type("Handler", (_Handler,), {"policy": policy}), directory=folder)
    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise DataError(f"port {port}: {error.strerror}; name another one by --port") from None


@cli.command("patchwork-web", _FLAGS, __doc__)
def main():
    """Builds the page if need be, and serves it."""
    folder = _FLAGS.folder or str((_ROOT / "build" if (_ROOT / "setup.py").exists() else _cache()) / "web")
    build(folder, _FLAGS.systems)
    if _FLAGS.build_only:
        print(f"{folder} is ready for any static host; patchwork-web serves it on this machine.")
        return
    with server(folder, _FLAGS.port) as serving:
        print(f"http://localhost:{serving.server_port}  (Ctrl-C ends it)", flush=True)
        serving.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
