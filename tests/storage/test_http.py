"""A download over a poor line, to servers that are broken in one way each; who is called, and who gets credentials."""

import base64
import os
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes import web
from tesk.errors import TransferError, TransferFailed, TransferRefused
from tesk.settings import HttpCredential
from tesk.storage.http import HttpScheme
from tesk.storage.patience import Patience
from tesk.storage.site import names, place_of

DATA = os.urandom(300_000)


@pytest.fixture
def target() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


class Fetcher:
    """A scheme whose waits are written down in place of being slept."""

    def __init__(self, *, tries: int = 5, **options: object) -> None:
        self.waits: list[float] = []
        patience = Patience(tries, lambda seconds, advance: self.waits.append(seconds))
        self.scheme = HttpScheme(**{"private": True, "patience": patience, "timeout_seconds": 5.0, **options})

    def get(self, url: str, target: int) -> bytes:
        try:
            arrived = self.scheme.get(url, target, lambda size_bytes: None)
        finally:
            self.scheme.close()
        assert arrived.size_bytes == os.fstat(target).st_size
        return os.pread(target, 1 << 26, 0)


@pytest.mark.parametrize(
    ("fault", "requests"),
    [
        (web.BreaksInTheMiddle, 4),
        (web.BreaksWithoutRanges, 4),
        (web.Resets, 3),
        (web.Busy, 3),
        (web.LiesAboutRanges, 3),
        (web.Chunked, 2),
    ],
)
def test_a_file_arrives_whole_in_spite_of(fault: type[web.Files], requests: int, target: int) -> None:
    with web.serve(fault, {"/f": DATA}) as server:
        fetcher = Fetcher()
        assert fetcher.get(f"{server.url}/f", target) == DATA
        assert len(server.requests) == requests == len(fetcher.waits) + 1


def test_a_broken_download_goes_on_where_it_stopped(target: int) -> None:
    with web.serve(web.BreaksInTheMiddle, {"/f": DATA}) as server:
        Fetcher().get(f"{server.url}/f", target)
        assert [request.get("Range") for request in server.requests] == [
            None,
            "bytes=100000-",
            "bytes=166666-",
            "bytes=211110-",
        ]
        assert server.requests[1]["If-Range"] == '"v1"'


def test_two_versions_of_a_file_are_never_mixed(target: int) -> None:
    second = os.urandom(200_000)
    with web.serve(web.ChangesInTheMiddle, {"/f": DATA, "/second": second}) as server:
        assert Fetcher().get(f"{server.url}/f", target) == second


def test_retry_after_is_kept_and_other_waits_have_jitter(target: int) -> None:
    with web.serve(web.Busy, {"/f": DATA}) as server:
        fetcher = Fetcher()
        fetcher.get(f"{server.url}/f", target)
    assert 7 <= fetcher.waits[0] <= 8
    assert 0 <= fetcher.waits[1] <= 1


def test_a_server_that_stays_down_is_named_with_what_was_tried(target: int) -> None:
    with web.serve(web.Down) as server:
        fetcher = Fetcher(tries=4)
        with pytest.raises(TransferFailed) as caught:
            fetcher.get(server.url.replace("//", "//user:secret@") + "/f?X-Signature=secret", target)
    assert len(fetcher.waits) == 3
    assert "secret" not in str(caught.value)
    assert f"{server.url}/f?...: the server answers 500" in str(caught.value)
    assert "tried 4 times" in str(caught.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410])
def test_what_more_tries_cannot_mend_is_tried_once(status: int, target: int) -> None:
    with web.serve(web.Says) as server:
        fetcher = Fetcher()
        with pytest.raises(TransferRefused, match=str(status)):
            fetcher.get(f"{server.url}/{status}", target)
        assert len(server.requests) == 1
    assert fetcher.waits == []


def test_a_silent_server_is_a_broken_line(target: int) -> None:
    with web.serve(web.Silent) as server, pytest.raises(TransferFailed, match="silent"):
        Fetcher(tries=2, timeout_seconds=0.05).get(f"{server.url}/f", target)


def test_a_host_that_nobody_knows_is_named(target: int) -> None:
    with pytest.raises(TransferFailed, match=r"http://nobody\.invalid/x: its host name cannot be looked up"):
        Fetcher(tries=2).get("http://nobody.invalid/x", target)


def test_nobody_listens(target: int) -> None:
    with web.serve() as server:
        url = server.url
    with pytest.raises(TransferFailed, match="Connection refused; tried 2 times"):
        Fetcher(tries=2).get(f"{url}/f", target)


def test_redirects_are_followed_but_not_for_ever(target: int) -> None:
    with web.serve(web.Redirects, {"/f%20g": DATA}) as server:
        assert Fetcher().get(f"{server.url}/to//to/{server.url}/f g", target) == DATA
        with pytest.raises(TransferRefused, match="more than 10 times"):
            Fetcher().get(f"{server.url}/ring", target)
        with pytest.raises(TransferRefused, match="no proper http URL"):
            Fetcher().get(f"{server.url}/to/file:///etc/passwd", target)


def test_credentials_go_to_their_own_host_only(target: int) -> None:
    with web.serve(web.Redirects, {"/f": DATA}) as one, web.serve(files={"/f": DATA}) as other:
        known = HttpCredential(host=one.url.removeprefix("http://"), token="secret")
        also = HttpCredential(host=other.url.removeprefix("http://"), user="u", password="p")
        Fetcher(credentials=(known, also)).get(f"{one.url}/to/{other.url}/f", target)
        Fetcher(credentials=(known, also)).get(f"{one.url}/to//f", target)
        Fetcher(credentials=(known, also)).get(f"{other.url}/f", target)
        Fetcher().get(f"{other.url.replace('//', '//me:it%40s@')}/f", target)
    assert [request.get("Authorization") for request in one.requests] == ["Bearer secret"] * 3
    assert [request.get("Authorization") for request in other.requests] == [
        None,
        "Basic " + base64.b64encode(b"u:p").decode(),
        "Basic " + base64.b64encode(b"me:it@s").decode(),
    ]


@pytest.mark.parametrize(
    ("host", "sent"),
    [
        ("{host}", False),  # it is for https, and its own port, alone
        ("https://{host}", False),
        ("https://{host}:{port}", False),
        ("http://{host}", False),  # port 80
        ("http://{host}:{port}", True),
        ("HTTP://{host}:{port}/", True),
        ("{host}:{port}", True),
        ("{host}:1", False),
    ],
)
def test_credentials_go_in_the_clear_only_where_their_entry_says_so(host: str, sent: bool, target: int) -> None:
    with web.serve(files={"/f": DATA}) as server:
        known = HttpCredential(host=host.format(host="127.0.0.1", port=server.server_port), token="secret")
        assert Fetcher(credentials=(known,)).get(f"{server.url}/f", target) == DATA
    assert [request.get("Authorization") for request in server.requests] == ["Bearer secret" if sent else None]


@pytest.mark.parametrize(
    ("entry", "means"),
    [
        ("Dav.Example.org", "https://dav.example.org:443"),
        ("http://dav.example.org", "http://dav.example.org:80"),
        ("b\u00fccher.example", "https://xn--bcher-kva.example:443"),
        ("[::1]:8443", "[::1]:8443"),
        ("[::1]", "https://[::1]:443"),
    ],
)
def test_an_entry_of_the_settings_means_one_server(entry: str, means: str) -> None:
    assert names(entry) == means


@pytest.mark.parametrize("url", ["https://h/x", "http://h/x", "https://h:81/x", "http://h:81/x", "https://[::1]:9/"])
def test_who_is_refused_is_told_how_a_setting_names_the_server(url: str) -> None:
    site = place_of(url).site
    assert names(site.entry) in {site.origin, site.authority}


def test_where_credentials_are_wanted_the_entry_is_named(target: int) -> None:
    with web.serve(web.Says) as server, pytest.raises(TransferRefused) as refused:
        Fetcher().get(f"{server.url}/401", target)
    assert f"it wants credentials (setting storage.http, host = '{server.url}')" in str(refused.value)


def test_private_addresses_are_called_only_where_they_may_be(target: int) -> None:
    with web.serve(web.Redirects, {"/f": DATA}) as server:
        port = server.server_port
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0x7f000001", "2130706433"):
            with pytest.raises(TransferRefused, match="may not be called"):
                Fetcher(private=False).get(f"http://{host}:{port}/f", target)
        for host in ("169.254.169.254", "0.0.0.0", "[fe80::1%25lo]", "[fd00:ec2::254]"):
            with pytest.raises((TransferRefused, TransferFailed)):
                Fetcher(tries=1).get(f"{server.url}/to/http://{host}:{port}/f", target)
        assert all(request["path"].startswith("/to/") for request in server.requests)


def test_names_with_odd_letters_are_asked_for_as_they_are(target: int) -> None:
    with web.serve(files={"/a%20b/%C3%A4%0A%25?q=1": DATA}) as server:
        assert Fetcher().get(f"{server.url}/a b/ä\n%25?q=1#fragment", target) == DATA


def test_connections_are_used_again() -> None:
    with web.serve(files={"/f": DATA, "/g": b""}) as server:
        scheme = HttpScheme(private=True)
        for name in ("/f", "/g", "/f", "/f"):
            with tempfile.TemporaryFile() as file:
                scheme.get(server.url + name, file.fileno(), lambda size_bytes: None)
        scheme.close()
        assert server.connections == 1
        assert len(server.requests) == 4


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=here -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
    subprocess.run(command.split(), cwd=path.parent, check=True, capture_output=True)
    path.write_text((path.parent / "key.pem").read_text() + (path.parent / "cert.pem").read_text())
    return path


def test_https_is_read_if_its_certificate_is_trusted(certificate: Path, target: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with web.serve(web.BreaksInTheMiddle, {"/f": DATA}, context) as server:
        assert Fetcher(context=trusting).get(f"{server.url}/f", target) == DATA
        with pytest.raises(TransferRefused, match="certificate is not trusted"):
            Fetcher().get(f"{server.url}/f", target)


def test_a_server_that_speaks_no_tls_is_told_as_one(target: int) -> None:
    with (
        web.serve(files={"/f": DATA}) as server,
        pytest.raises(TransferFailed, match="what it answers is no TLS; tried 2"),
    ):
        Fetcher(tries=2).get(f"{server.url.replace('http://', 'https://')}/f", target)


def test_https_is_never_left_for_http(certificate: Path, target: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with web.serve(files={"/f": DATA}) as plain, web.serve(web.Redirects, {}, context) as server:
        with pytest.raises(TransferRefused, match="from https to http"):
            Fetcher(context=trusting).get(f"{server.url}/to/{plain.url}/f", target)
        assert plain.requests == []


def test_a_full_disk_is_said_and_not_tried_again() -> None:
    with web.serve(files={"/f": DATA}) as server, open("/dev/full", "rb+", buffering=0) as full:
        fetcher = Fetcher()
        with pytest.raises(TransferError, match="the disk is full"):
            fetcher.get(f"{server.url}/f", full.fileno())
    assert fetcher.waits == []


@pytest.mark.parametrize(
    "url",
    ["http://", "http:///x", "http://a b/", "http://a\nb/", "http://h:99999/", f"http://{'a' * 64}.x/", "http://a..b/"],
)
def test_what_is_no_url_is_refused(url: str, target: int) -> None:
    with pytest.raises(TransferRefused, match="no proper http URL"):
        Fetcher().get(url, target)
