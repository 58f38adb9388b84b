"""A public server that sends us on to this machine, tried in a network where this machine has a public address."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tesk.errors import TransferRefused
from tesk.storage.http import HttpScheme

PUBLIC = "9.9.9.9"
ROOM = f"ip link set lo up && ip addr add {PUBLIC}/32 dev lo"


def test_a_public_server_cannot_send_us_on_to_a_private_one_but_a_private_one_can() -> None:
    own = [shutil.which("unshare") or "unshare", "--map-root-user", "--net", "sh", "-c"]
    if shutil.which("ip") is None or subprocess.run([*own, ROOM], check=False, capture_output=True).returncode:
        pytest.skip("no network of its own can be made here")
    again = [*own, f'{ROOM} && exec "$0" "$1"', sys.executable, __file__]
    done = subprocess.run(again, check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["127.0.0.1:secret", f"{PUBLIC}:refused"], done.stderr


class Onward(BaseHTTPRequestHandler):
    """Sends everybody on to the same port of 127.0.0.1, where a secret lies."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(302 if self.path == "/on" else 200)
        self.send_header("Location", f"http://127.0.0.1:{self.server.server_address[1]}/secret")
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"secret")


def main() -> None:
    """Ask by both addresses, the private one first: what is kept of it must not help the other."""
    server = ThreadingHTTPServer(("", 0), Onward)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    scheme = HttpScheme(private=True)
    for host in ("127.0.0.1", PUBLIC):
        with tempfile.TemporaryFile() as target:
            try:
                scheme.get(f"http://{host}:{server.server_port}/on", target.fileno(), lambda size_bytes: None)
            except TransferRefused as refused:
                print(f"{host}:{'refused' if 'no redirect from a public server' in str(refused) else refused}")
            else:
                print(f"{host}:{os.pread(target.fileno(), 100, 0).decode()}")


if __name__ == "__main__":
    main()
