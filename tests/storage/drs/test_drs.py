"""DRS servers: which access method is taken, who is shown what, what is believed."""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator

import pytest

from fakes import drs_server
from fakes.drs_server import PASSPORT, TOKEN
from fakes.worlds_drs import scheme
from tesk.errors import TransferFailed, TransferRefused
from tesk.settings import DrsHost, DrsPrefix, StorageSettings
from tesk.storage.drs import scheme as remembering
from tesk.storage.drs.document import AccessUrl, Checksum, expected, headers, read_access, read_object
from tesk.storage.drs.place import Place, place_of
from tesk.storage.drs.scheme import DrsScheme
from tesk.storage.patience import Patience
from tesk.storage.scheme import Scheme
from tesk.storage.schemes import Schemes
from tesk.tes.task import FileType

KEY = "Bearer key-of-the-bytes"


@pytest.fixture
def server() -> Iterator[drs_server.Drs]:
    with drs_server.serve() as serving:
        yield serving


def nothing(size_bytes: int) -> None:
    """An Advance that lets everything pass."""


def fetched(drs: Scheme, url: str) -> bytes:
    with tempfile.TemporaryFile() as file:
        told: list[int] = []
        arrived = drs.get(url, file.fileno(), told.append)
        data = os.pread(file.fileno(), 1 << 20, 0)
        assert arrived.size_bytes == len(data) == sum(told)
        return data


def drs(server: drs_server.Drs, tries: int = 1, **known: object) -> contextlib.AbstractContextManager[DrsScheme]:
    host = DrsHost(host=server.authority, plain=True, **known)
    return scheme(host, patience=Patience(tries, wait=lambda seconds, advance: None))


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("drs://drs.example.org/314159", Place("drs.example.org", "314159")),
        ("DRS://Drs.Example.Org:8443/a%2Fb", Place("drs.example.org:8443", "a/b")),
        ("drs://drs.example.org/a/b", Place("drs.example.org", "a/b")),
        ("drs://dg.4503:dg.4503/0000", Place("gen3.example.org", "dg.4503/0000")),
        ("drs://cgc/f:5e0", Place("cgc.example.org", "5e0")),
    ],
)
def test_an_id_is_on_its_host_or_where_the_settings_say(url: str, place: Place) -> None:
    prefixes = (DrsPrefix(prefix="dg.4503", host="gen3.example.org"), DrsPrefix(prefix="cgc/f", host="cgc.example.org"))
    assert place_of(url, prefixes) == place
    assert place_of(place.url, ()) == place


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("drs://dg.4DFC:0027045b", r"where ids of dg\.4DFC are \(setting storage\.drs_prefixes\)"),
        ("drs://nothing", "no proper DRS URI"),
        ("drs://user:pw@h/x", "no proper DRS URI"),
        ("drs://h/", "names no object"),
        ("drs://h/a%0Ab", "names no object"),
    ],
)
def test_an_id_that_leads_nowhere_is_refused(url: str, words: str) -> None:
    with pytest.raises(TransferRefused, match=words) as told:
        place_of(url, ())
    assert "pw" not in str(told.value)


def test_an_id_of_any_bytes_is_asked_for(server: drs_server.Drs) -> None:
    with drs(server) as scheme:
        assert scheme.stat(f"{server.url}/%80%FF%2F") is None
        with pytest.raises(TransferRefused, match="knows no object %80%FF/"):
            fetched(scheme, f"{server.url}/%80%FF%2F")


def test_urls_that_are_there_are_taken_before_those_that_must_be_asked_for(server: drs_server.Drs) -> None:
    server.add("a", b"data")
    there = server.objects["a"]["access_methods"]
    server.objects["a"]["access_methods"] = [{"type": "https", "access_id": "x"}, *there]
    with drs(server) as scheme:
        assert fetched(scheme, f"{server.url}/a") == b"data"
        assert not any("/access/" in request for request in server.requests)


def test_an_access_id_is_turned_into_a_url(server: drs_server.Drs) -> None:
    server.add("a", b"data", access_methods=[{"type": "https", "access_id": "x/y"}])
    server.access["a", "x/y"] = {"url": f"{server.web}/bytes/a"}
    with drs(server) as scheme:
        assert fetched(scheme, f"{server.url}/a") == b"data"


def test_what_we_cannot_do_is_passed_over_and_the_next_is_tried_when_one_is_refused(server: drs_server.Drs) -> None:
    methods = [
        {"type": "globus", "access_url": {"url": "globus://endpoint/a"}},
        {"type": "file", "access_url": {"url": "file:///etc/passwd"}},
        {"type": "https", "access_url": {"url": f"{server.web}/bytes/gone"}},
        {"type": "https", "access_url": {"url": f"{server.web}/bytes/a"}},
    ]
    server.add("a", b"data", access_methods=methods)
    server.add("b", b"data", access_methods=methods[:2])
    with drs(server) as scheme:
        assert fetched(scheme, f"{server.url}/a") == b"data"
        with pytest.raises(TransferRefused, match="no access method that can be used here; it has: file, globus"):
            fetched(scheme, f"{server.url}/b")


def test_headers_of_an_access_url_are_sent_to_its_server_and_never_shown(server: drs_server.Drs) -> None:
    url = f"{server.web}/bytes/a"
    server.add("a", b"data", access_methods=[{"type": "https", "access_url": {"url": url, "headers": []}}])
    server.locked["/bytes/a"] = KEY
    with drs(server) as scheme:
        server.objects["a"]["access_methods"][0]["access_url"]["headers"] = [f"Authorization: {KEY}"]
        assert fetched(scheme, f"{server.url}/a") == b"data"
        server.locked["/bytes/a"] = "another"
        with pytest.raises(TransferRefused, match="403") as told:
            fetched(scheme, f"{server.url}/a")
        assert KEY not in str(told.value)


def test_credentials_for_the_drs_server_are_not_shown_to_who_has_the_bytes(server: drs_server.Drs) -> None:
    with drs_server.serve() as bytes_:
        bytes_.files["/bytes/a"] = b"data"
        url = {"url": f"{bytes_.web}/bytes/a", "headers": ["X-Other: 1"]}
        server.add("a", b"data", access_methods=[{"type": "https", "access_url": url}])
        server.wants["a"] = "bearer"
        with drs(server, token=TOKEN) as scheme:
            assert fetched(scheme, f"{server.url}/a") == b"data"
        assert bytes_.requests == ["GET /bytes/a"]


@pytest.mark.parametrize(
    ("wants", "known"),
    [
        ("bearer", {"token": TOKEN}),
        ("basic", {"user": "ann", "password": "pw"}),
        ("passport", {"passports": (PASSPORT,)}),
        ("passport", {"passports": (PASSPORT,), "token": TOKEN}),
    ],
)
def test_a_server_is_shown_what_it_wants(server: drs_server.Drs, wants: str, known: dict[str, object]) -> None:
    server.add("a", b"data", access_methods=[{"type": "https", "access_id": "x"}])
    server.access["a", "x"] = {"url": f"{server.web}/bytes/a"}
    server.bundle("top", ("a", "a"))
    server.wants = {"a": wants, "top": wants}
    with drs(server, **known) as scheme:
        assert fetched(scheme, f"{server.url}/a") == b"data"
        assert [entry.name for entry in scheme.list(f"{server.url}/top")] == ["a"]
    with drs(server) as scheme, pytest.raises(TransferRefused, match=r"401 .*storage\.drs: token"):
        fetched(scheme, f"{server.url}/a")


def test_a_passport_is_shown_at_once_where_the_object_says_so(server: drs_server.Drs) -> None:
    method = {"type": "https", "access_id": "x", "authorizations": {"supported_types": ["PassportAuth"]}}
    server.add("a", b"data", access_methods=[method])
    server.access["a", "x"] = {"url": f"{server.web}/bytes/a"}
    with drs(server, passports=(PASSPORT,)) as scheme:
        fetched(scheme, f"{server.url}/a")
    assert [request for request in server.requests if "/access/" in request] == [
        "POST /ga4gh/drs/v1/objects/a/access/x"
    ]


def test_credentials_are_for_their_callers(server: drs_server.Drs) -> None:
    server.add("a", b"data")
    server.wants["a"] = "bearer"
    hosts = (
        DrsHost(host=server.authority, plain=True, token=TOKEN, callers=("ann",)),
        DrsHost(host=server.authority, plain=True, callers=("bob",)),
    )
    settings = StorageSettings(drs=hosts, private_addresses=True)
    for caller in ("ann", "bob"):
        with Schemes(settings, caller) as schemes:
            found = schemes.of(f"{server.url}/a")
            if caller == "ann":
                assert fetched(found, f"{server.url}/a") == b"data"
            else:
                with pytest.raises(TransferRefused, match="401"):
                    fetched(found, f"{server.url}/a")


def test_a_server_cannot_lead_to_a_scheme_that_the_settings_do_not_name(server: drs_server.Drs) -> None:
    server.add("a", b"data")
    host = DrsHost(host=server.authority, plain=True)
    settings = StorageSettings(drs=(host,), schemes=("drs",), private_addresses=True)
    with Schemes(settings, "ann") as schemes, pytest.raises(TransferRefused, match="no access method that can be used"):
        fetched(schemes.of(server.url), f"{server.url}/a")


def test_a_wrong_checksum_or_size_is_tried_again_and_told(server: drs_server.Drs) -> None:
    server.add("a", b"data", checksums=[{"type": "md5", "checksum": "0" * 32}])
    server.add("b", b"data", size=5)
    with drs(server, tries=2) as scheme:
        with pytest.raises(
            TransferFailed, match=rf"md5 {'0' * 32} expected, 8d777f385d3dfec8815d20f7496026dc got.*tried 2"
        ):
            fetched(scheme, f"{server.url}/a")
        with pytest.raises(TransferFailed, match="5 bytes expected, 4 got"):
            fetched(scheme, f"{server.url}/b")


def test_the_strongest_checksum_counts_in_whatever_spelling() -> None:
    named = (Checksum("1" * 32, "md5"), Checksum("A" * 64, "SHA256"), Checksum("3" * 8, "crc32c"))
    assert expected(named) == ("sha256", "a" * 64)
    assert expected((Checksum("x", "sha-256"),)) is None


def test_a_server_that_is_not_ready_is_asked_again(server: drs_server.Drs) -> None:
    server.add("a", b"data")
    server.busy = 2
    with drs(server, tries=3) as scheme:
        assert fetched(scheme, f"{server.url}/a") == b"data"


@pytest.mark.parametrize("expands", [True, False])
def test_bundles_are_folders_whether_the_server_expands_them_or_not(server: drs_server.Drs, expands: bool) -> None:
    server.expands = expands
    for name in ("a", "b", "c"):
        server.add(name, name.encode())
    server.bundle("deep", ("c.txt", "c"))
    server.bundle("inner", ("b.txt", "b"), ("deep", "deep"))
    server.bundle("top", ("a.txt", "a"), ("inner", "inner"))
    with drs(server) as scheme:
        entries = list(scheme.list(f"{server.url}/top"))
        assert [entry.name for entry in entries if entry.type is FileType.DIRECTORY] == ["inner", "inner/deep"]
        files = {entry.name: fetched(scheme, entry.url) for entry in entries if entry.type is FileType.FILE}
        assert files == {"a.txt": b"a", "inner/b.txt": b"b", "inner/deep/c.txt": b"c"}
        asked = [request for request in server.requests if request.endswith("/objects/a")]
        assert len(asked) == 1
        top = scheme.stat(f"{server.url}/top")
        assert top is not None
        assert top.type is FileType.DIRECTORY
        with pytest.raises(TransferRefused, match="its type is DIRECTORY"):
            fetched(scheme, f"{server.url}/top")


def test_a_bundle_that_holds_itself_is_found_out(server: drs_server.Drs) -> None:
    server.expands = False
    server.bundle("a", ("b", "b"))
    server.bundle("b", ("a", "a"))
    with drs(server) as scheme, pytest.raises(TransferRefused, match="the bundle b/a holds itself"):
        list(scheme.list(f"{server.url}/a"))


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "", "a\0"])
def test_a_part_whose_name_leads_elsewhere_is_refused(server: drs_server.Drs, name: str) -> None:
    server.add("a", b"1")
    server.bundle("top", (name, "a"))
    with drs(server) as scheme, pytest.raises(TransferRefused, match="a name that no file can have"):
        list(scheme.list(f"{server.url}/top"))


@pytest.mark.parametrize("document", [b'{"url":"\xce"}', b'{"url":"x","z":' + b"[" * 100_000, b"[]", b""])
def test_what_is_no_document_is_no_fault_of_ours(document: bytes) -> None:
    for read in (read_object, read_access):
        with pytest.raises(TransferRefused, match="the server's answer"):
            read(document.replace(b"url", b"id") if read is read_object else document, "drs://h/a")


def test_headers_cannot_become_others() -> None:
    access = AccessUrl("https://h/", ("authorization: Basic abc", "Host: other", "X-Range : no"))
    with pytest.raises(TransferRefused, match="a header that cannot be sent") as told:
        headers(access, "drs://h/a")
    assert "abc" not in str(told.value)
    with pytest.raises(TransferRefused):
        headers(AccessUrl("https://h/", ("A: b\r\nC: d",)), "drs://h/a")
    found = headers(AccessUrl("https://h/", ("authorization: Basic abc", "Host: other")), "drs://h/a")
    assert found == {"Authorization": "Basic abc"}
    began = time.process_time()
    assert headers(AccessUrl("https://h/", (f"A:\tx{' ' * 1_000_000}x ",)), "drs://h/a")["A"][-2:] == " x"
    assert time.process_time() - began < 1, "no header keeps us long"


def test_outputs_are_refused(server: drs_server.Drs) -> None:
    with drs(server) as scheme, pytest.raises(TransferRefused, match="outputs cannot be stored there"):
        scheme.put(0, f"{server.url}/a", nothing)


def test_a_url_that_has_expired_since_the_object_was_looked_at_is_asked_for_anew(server: drs_server.Drs) -> None:
    server.add("a", b"data")
    with drs(server) as scheme:
        assert scheme.stat(f"{server.url}/a") is not None
        server.files["/bytes/new"] = server.files.pop("/bytes/a")
        server.objects["a"]["access_methods"][0]["access_url"]["url"] = f"{server.web}/bytes/new"
        assert fetched(scheme, f"{server.url}/a") == b"data"


def test_a_document_without_end_is_refused_with_what_would_help(server: drs_server.Drs) -> None:
    server.add("x", b"data", description="x" * (17 * 1024 * 1024))
    with (
        drs(server) as scheme,
        pytest.raises(TransferRefused, match=r"/x: what its DRS server says of it is longer than 16\.8 MB; the parts"),
    ):
        scheme.stat(f"{server.url}/x")


def test_what_is_remembered_until_it_is_fetched_is_bounded_in_bytes(
    server: drs_server.Drs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembering, "_REMEMBERED_BYTES", 1000)
    for number in range(10):
        server.add(str(number), b"data")
    server.bundle("all", *((f"n{number}", str(number)) for number in range(10)))
    server.expands = False
    with drs(server) as scheme:
        assert scheme.stat(f"{server.url}/all") is not None
        parts = [entry.url for entry in scheme.list(f"{server.url}/all")]
        server.requests.clear()
        assert {fetched(scheme, url) for url in parts} == {b"data"}
    asked = sum("/objects/" in request for request in server.requests)
    assert 0 < asked < 10
