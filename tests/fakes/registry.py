"""A registry of images on loopback: just enough of OCI's distribution API for an engine to fetch from it."""

import contextlib
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Registry:
    """Serves what `add` was given. `asked` are the paths that were asked for. Where `hang` is set it never answers."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: list[str] = []
        self.hang = threading.Event()
        self.hung = threading.Event()
        self._manifests: dict[str, bytes] = {}
        self._blobs: dict[str, Path] = {}

    def add(self, name: str, layout: Path) -> str:
        """Serve an image (an OCI layout) as `name:1`; return its digest."""
        index = json.loads((layout / "index.json").read_text())
        digest = str(index["manifests"][0]["digest"])
        for blob in (layout / "blobs/sha256").iterdir():
            self._blobs[f"sha256:{blob.name}"] = blob
        manifest = self._blobs[digest].read_bytes()
        self._manifests |= {f"{name}:1": manifest, f"{name}:{digest}": manifest}
        return digest

    def answer(self, path: str) -> tuple[str, bytes] | None:
        """Return the type and the bytes of what is at a path."""
        self.asked.append(path)
        name, _, what = path.removeprefix("/v2/").rpartition("/")
        if path == "/v2/":
            return "application/json", b"{}"
        if name.endswith("/manifests"):
            found = self._manifests.get(f"{name.removesuffix('/manifests')}:{what}")
            return (_MANIFEST, found) if found is not None else None
        return ("application/octet-stream", self._blobs[what].read_bytes()) if what in self._blobs else None


@contextlib.contextmanager
def running() -> Iterator[Registry]:
    """Give a registry without any image."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if registry.hang.is_set():
                registry.hung.set()
                over.wait()
            found = registry.answer(self.path)
            self.send_response(404 if found is None else 200)
            kind, data = found or (
                "application/json",
                b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}',
            )
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Docker-Content-Digest", "sha256:" + hashlib.sha256(data).hexdigest())
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    over = threading.Event()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        registry = Registry(server.server_port)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield registry
        finally:
            over.set()
            server.shutdown()
            thread.join()
