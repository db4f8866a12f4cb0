"""Serves the page that shows Patchwork in a browser, and measures there (docs/browser.md).

  make web          # builds it
  patchwork-web     # serves it on this machine

Cameras and threads take a page from localhost or by https. A phone on a cable finds this one at its own localhost:

  adb reverse tcp:8000 tcp:8000
"""

import functools
import http.server
import os
import re
import sys

from absl import flags

from patchwork_tf import cli
from patchwork_tf.errors import DataError

_FLAGS = flags.FlagValues()
flags.DEFINE_string("folder", "build/web", "The page that make web built.", _FLAGS)
flags.DEFINE_integer("port", 8000, "Port on this machine.", 0, 65535, flag_values=_FLAGS)


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Files, with the headers that isolate a page, so that WebAssembly may have threads."""

    policy = ""

    def guess_type(self, path):
        """Also where the machine's own table of types is odd."""
        types = {".js": "text/javascript", ".wasm": "application/wasm"}
        return types.get(os.path.splitext(path)[1]) or super().guess_type(path)

    def end_headers(self):
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Content-Security-Policy", self.policy)  # workers heed that of their own file
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_request(self, code="-", size="-"):
        pass


def server(folder: str, port: int) -> http.server.ThreadingHTTPServer:
    """A server of the page, for this machine only.

    Raises:
        DataError: if there is no page in the folder, or the port is taken.
    """
    try:
        with open(os.path.join(folder, "index.html"), encoding="utf-8") as file:
            policy = re.search(r'Content-Security-Policy" content="([^"]+)"', file.read())[1]
    except (OSError, TypeError):
        raise DataError(f"{folder}: there is no page in it; make web builds it") from None
    handler = functools.partial(type("Handler", (_Handler,), {"policy": policy}), directory=folder)
    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise DataError(f"port {port}: {error.strerror}; name another one by --port") from None


def _serve():
    with server(_FLAGS.folder, _FLAGS.port) as serving:
        print(f"http://localhost:{serving.server_port}  (Ctrl-C ends it)", flush=True)
        serving.serve_forever()


def main(argv=None) -> int:
    return cli.run(_serve, _FLAGS, "patchwork-web", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
