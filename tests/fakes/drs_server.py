"""A small GA4GH DRS 1.4 server on loopback: objects by id, access URLs by id, passports; and a place where their bytes lie."""

import base64
import contextlib
import hashlib
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

PASSPORT = "eyJ.a.passport"
TOKEN = "a-bearer-token"


class Drs(ThreadingHTTPServer):
    """`objects` by id as they are told; `access` the URL objects by (id, access id); `files` by path; `wants` what an id asks for."""

    daemon_threads = True
    request_queue_size = 50

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, dict[str, Any]] = {}
        self.access: dict[tuple[str, str], dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.wants: dict[str, str] = {}
        self.locked: dict[str, str] = {}
        self.expands = True
        self.busy = 0
        self.requests: list[str] = []
        self.authority = f"127.0.0.1:{self.server_port}"
        self.url = f"drs://{self.authority}"
        self.web = f"http{'s' if tls else ''}://{self.authority}"
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)

    def add(self, id_: str, data: bytes, **more: Any) -> None:
        """Have a blob, with the size and checksum that it has and an access URL here."""
        self.files[f"/bytes/{id_}"] = data
        self.objects[id_] = {
            "id": id_,
            "self_uri": f"{self.url}/{id_}",
            "created_time": "2024-01-01T00:00:00Z",
            "size": len(data),
            "checksums": [{"type": "sha-256", "checksum": hashlib.sha256(data).hexdigest()}],
            "access_methods": [{"type": "https", "access_url": {"url": f"{self.web}/bytes/{quote(id_)}"}}],
            **more,
        }

    def bundle(self, id_: str, *parts: tuple[str, str]) -> None:
        """Have a bundle of (name, id)."""
        contents = [{"name": name, "id": part, "drs_uri": [f"{self.url}/{part}"]} for name, part in parts]
        self.objects[id_] = {"id": id_, "size": 0, "checksums": [], "contents": contents}

    def expanded(self, document: dict[str, Any]) -> dict[str, Any]:
        parts = []
        for part in document["contents"]:
            there = self.objects[part["id"]]
            inner = {"contents": self.expanded(there)["contents"]} if "contents" in there else {}
            parts.append({**part, **inner})
        return {**document, "contents": parts}

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news here."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Drs

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.told({})

    def do_HEAD(self) -> None:
        self.told({})

    def do_POST(self) -> None:
        self.told(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def told(self, body: dict[str, Any]) -> None:
        self.server.requests.append(f"{self.command} {self.path} {self.headers.get('Authorization', '')}".rstrip())
        address = urlsplit(self.path)
        if address.path.startswith("/bytes/"):
            self.bytes(unquote(address.path))
            return
        parts = [unquote(part) for part in address.path.removeprefix("/ga4gh/drs/v1/objects/").split("/")]
        document = self.server.objects.get(parts[0])
        if document is None:
            self.say(404, {"msg": "no such object", "status_code": 404})
        elif not self.let_in(self.server.wants.get(parts[0], ""), body):
            self.say(401, {"msg": "who are you?", "status_code": 401})
        elif self.server.busy:
            self.server.busy -= 1
            self.say(202, {}, {"Retry-After": "3"})
        elif len(parts) == 3:
            self.say(200, self.server.access[parts[0], parts[2]])
        elif "contents" in document and self.server.expands and self.expand(address.query, body):
            self.say(200, self.server.expanded(document))
        else:
            self.say(200, document)

    def expand(self, query: str, body: dict[str, Any]) -> bool:
        return parse_qs(query).get("expand") == ["true"] or body.get("expand") is True

    def let_in(self, wants: str, body: dict[str, Any]) -> bool:
        said = self.headers.get("Authorization", "")
        basic = f"Basic {base64.b64encode(b'ann:pw').decode()}"
        return {"": True, "bearer": said == f"Bearer {TOKEN}", "basic": said == basic}.get(
            wants, body.get("passports") == [PASSPORT]
        )

    def bytes(self, path: str) -> None:
        data = self.server.files.get(path)
        key = self.server.locked.get(path)
        if data is None or (key is not None and self.headers.get("Authorization") != key):
            self.say(404 if data is None else 403, {})
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def say(self, status: int, document: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextlib.contextmanager
def serve(tls: ssl.SSLContext | None = None) -> Iterator[Drs]:
    """Serve until the end of the block."""
    with Drs(tls) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
