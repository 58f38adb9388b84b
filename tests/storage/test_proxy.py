"""Servers that are called through a proxy: a real one of fifty lines between us and them."""

import contextlib
import select
import socket
import tempfile
import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fakes import web
from fakes.worlds_web import certificate
from tesk.errors import SettingsError, TransferError, TransferFailed, TransferRefused
from tesk.settings import HttpCredential, StorageSettings
from tesk.storage import proxy
from tesk.storage.address import Hosts
from tesk.storage.http import HttpScheme
from tesk.storage.patience import Patience
from tesk.storage.proxy import Proxy, proxy_of
from tesk.storage.schemes import in_force

DATA = b"data" * 100_000
LOGIN = f"Basic {b64encode(b'ann:s3cret').decode()}"


class _Through(BaseHTTPRequestHandler):
    """Leads any name to 127.0.0.1, as the proxy of a site that knows more names than we do."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def asked(self) -> bool:
        self.server.asked.append((self.command, self.path, self.headers.get("Authorization")))
        if self.headers.get("Proxy-Authorization") != LOGIN:
            self.send_response(407)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False
        return True

    def do_CONNECT(self) -> None:
        if not self.asked():
            return
        with socket.create_connection(("127.0.0.1", int(self.path.rpartition(":")[2]))) as there:
            self.wfile.write(b"HTTP/1.0 200 Connection established\r\n\r\n")
            _exchange(self.connection, there)
        self.close_connection = True

    def do_GET(self) -> None:
        if not self.asked():
            return
        url = urlsplit(self.path)
        with socket.create_connection(("127.0.0.1", url.port)) as there:
            heads = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items() if "Proxy" not in name)
            there.sendall(f"GET {url.path} HTTP/1.1\r\n{heads}Connection: close\r\n\r\n".encode())
            _exchange(self.connection, there)
        self.close_connection = True


def _exchange(one: socket.socket, other: socket.socket) -> None:
    while True:
        for line in select.select([one, other], [], [])[0]:
            data = line.recv(65536)
            if not data:
                return
            (other if line is one else one).sendall(data)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Through)
        self.asked: list[tuple[str, str, str | None]] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news here."""


@pytest.fixture
def server() -> Iterator[_Server]:
    made = _Server()
    thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def set_to(server: _Server, login: str = "ann:s3cret@", direct: tuple[str, ...] = ()) -> Proxy:
    found = proxy_of(StorageSettings(http_proxy=f"http://{login}127.0.0.1:{server.server_port}", no_proxy=direct))
    assert found is not None
    return found


def fetched(url: str, **options: object) -> bytes:
    scheme = HttpScheme(**{"patience": Patience(1), "timeout_seconds": 5.0, **options})
    with contextlib.closing(scheme), tempfile.TemporaryFile() as target:
        scheme.get(url, target.fileno(), lambda size_bytes: None)
        return target.read()


def test_servers_without_tls_are_asked_for_by_their_whole_url(server: _Server) -> None:
    with web.serve(files={"/f": DATA}) as there:
        port = urlsplit(there.url).port
        known = HttpCredential(host=f"data.example.org:{port}", token="secret")
        assert fetched(f"http://data.example.org:{port}/f", proxy=set_to(server), credentials=(known,)) == DATA
        assert there.requests[0]["Host"] == f"data.example.org:{port}"
        assert "Proxy-Authorization" not in there.requests[0]
    assert server.asked == [("GET", f"http://data.example.org:{port}/f", "Bearer secret")]


def test_tls_is_spoken_with_the_server_itself_through_a_tunnel(
    server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "_HERE", ())
    served, trusting = certificate(tmp_path)
    with web.serve(files={"/f": DATA}, tls=served) as there:
        assert fetched(f"{there.url}/f", proxy=set_to(server), private=True, context=trusting) == DATA
        assert server.asked == [("CONNECT", there.url.removeprefix("https://"), None)]
        assert "Proxy-Authorization" not in there.requests[0]


def test_a_proxy_that_does_not_let_us_through_is_said_without_its_password(server: _Server) -> None:
    for url in ("http://data.example.org/f", "https://data.example.org/f"):
        with pytest.raises(TransferRefused, match=r"answers 407 .*storage\.http_proxy") as refused:
            fetched(url, proxy=set_to(server, "ann:wr0ng@"))
        assert "wr0ng" not in str(refused.value)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        lost = Proxy("", "127.0.0.1", nobody.getsockname()[1], "")
        with pytest.raises(TransferFailed, match="Connection refused"):
            fetched("https://data.example.org/f", proxy=lost)


@pytest.mark.parametrize("host", ["169.254.169.254", "10.1.2.3", "denied.example.org", "[fd00:ec2::254]"])
def test_what_may_not_be_called_is_not_called_through_a_proxy_either(server: _Server, host: str) -> None:
    for scheme in ("http", "https"):
        with pytest.raises(TransferError, match="may not be called"):
            fetched(f"{scheme}://{host}/f", proxy=set_to(server), hosts=Hosts(denied=("denied.example.org",)))
    assert server.asked == []


def test_a_server_behind_a_proxy_leads_nobody_into_our_own_network(server: _Server) -> None:
    with web.serve(files={"/secret": DATA}) as inner, web.serve(web.Redirects) as there:
        url = f"http://data.example.org:{urlsplit(there.url).port}/to/{inner.url}/secret"
        with pytest.raises(TransferRefused, match=r"127\.0\.0\.1 may not be called"):
            fetched(url, proxy=set_to(server), private=True)
        assert inner.requests == []


def test_this_machine_and_hosts_that_are_named_are_called_directly(server: _Server) -> None:
    with web.serve(files={"/f": DATA}) as there:
        assert fetched(f"{there.url}/f", proxy=set_to(server), private=True) == DATA
    reach = set_to(server, direct=("*.example.org", "10.0.0.0/8"))
    hosts = ("a.example.org", "10.1.2.3", "localhost", "[::1]", "example.org", "11.1.2.3")
    assert [reach.leads_to(host) for host in hosts] == [False, False, False, False, True, True]
    assert server.asked == []


def test_what_is_no_proxy_is_said_at_the_start() -> None:
    for text in ("proxy.example.org", "https://proxy.example.org:3128", "http://proxy.example.org", "http://a:b@c:1/x"):
        with pytest.raises(SettingsError, match=r"storage\.http_proxy is no address of a proxy") as said:
            in_force(StorageSettings(http_proxy=text), personal=False, home="/h", current="/c", own=())
        assert text not in str(said.value)
