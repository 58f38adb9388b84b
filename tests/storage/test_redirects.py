"""A public server that sends us on to this machine, tried in a network where this machine has a public address."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tesk.errors import TransferRefused
from tesk.settings import DrsHost, StorageSettings
from tesk.storage.http import HttpScheme
from tesk.storage.schemes import Schemes

PUBLIC = "9.9.9.9"
ROOM = f"ip link set lo up && ip addr add {PUBLIC}/32 dev lo"


def test_a_public_server_cannot_send_us_on_to_a_private_one_but_a_private_one_can() -> None:
    own = [shutil.which("unshare") or "unshare", "--map-root-user", "--net", "sh", "-c"]
    if shutil.which("ip") is None or subprocess.run([*own, ROOM], check=False, capture_output=True).returncode:
        pytest.skip("no network of its own can be made here")
    again = [*own, f'{ROOM} && exec "$0" "$1"', sys.executable, __file__]
    done = subprocess.run(again, check=False, capture_output=True, text=True, timeout=60)
    ways = ("http", "drs", "bundle")
    assert done.stdout.split() == [
        word for way in ways for word in (f"{way}:127.0.0.1:secret", f"{way}:{PUBLIC}:refused")
    ], done.stderr


class Onward(BaseHTTPRequestHandler):
    """Sends everybody on to the same port of 127.0.0.1, where a secret lies: by redirects, as DRS object, as bundle."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        here = f"127.0.0.1:{self.server.server_address[1]}"
        object_ = {"access_methods": [{"type": "https", "access_url": {"url": f"http://{here}/secret"}}]}
        bundle = {"contents": [{"name": "x", "drs_uri": f"drs://{here}/object"}]}
        name = self.path.rpartition("/")[2].partition("?")[0]
        data = {"object": json.dumps(object_).encode(), "bundle": json.dumps(bundle).encode()}.get(name, b"secret")
        self.send_response(302 if name == "on" else 200)
        self.send_header("Location", f"http://{here}/secret")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    """Ask by both addresses, the private one first: what is kept of it must not help the other."""
    server = ThreadingHTTPServer(("", 0), Onward)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for way in ("http", "drs", "bundle"):
        for host in ("127.0.0.1", PUBLIC):
            try:
                print(f"{way}:{host}:{fetched(way, f'{host}:{server.server_port}', server.server_port).decode()}")
            except TransferRefused as refused:
                print(f"{way}:{host}:{'refused' if 'no redirect from a public server' in str(refused) else refused}")


HTTP = HttpScheme(private=True)


def fetched(way: str, authority: str, port: int) -> bytes:
    """Fetch what a server leads to."""
    known = tuple(DrsHost(host=f"{host}:{port}", plain=True) for host in ("127.0.0.1", PUBLIC))
    settings = StorageSettings(private_addresses=True, drs=known)
    with tempfile.TemporaryFile() as target, Schemes(settings, "") as schemes:
        scheme, url = schemes.of("drs://"), f"drs://{authority}/object"
        if way == "http":
            scheme, url = HTTP, f"http://{authority}/on"
        if way == "bundle":
            (part,) = scheme.list(f"drs://{authority}/bundle")
            url = part.url
        scheme.get(url, target.fileno(), lambda size_bytes: None)
        return os.pread(target.fileno(), 100, 0)


if __name__ == "__main__":
    main()
