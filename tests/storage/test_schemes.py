"""Which scheme, which roots, which addresses: decisions as tables."""

import sys
from pathlib import Path

import pytest

from fakes import web
from tesk.errors import SettingsError, TransferFailed, TransferRefused
from tesk.settings import FileRoot, HttpCredential, S3Bucket, StorageSettings
from tesk.storage import address
from tesk.storage.address import may_lead_to_private
from tesk.storage.file import FileScheme
from tesk.storage.http import HttpScheme
from tesk.storage.schemes import Schemes, default_roots, in_force, refusal, told
from tesk.storage.url import below, shown
from tesk.transfer import Deliver, Fetch, TransferList


def test_each_url_has_its_scheme_and_others_are_named() -> None:
    with Schemes(StorageSettings(), "me") as schemes:
        assert isinstance(schemes.of("/a"), FileScheme)
        assert isinstance(schemes.of("FILE:///a"), FileScheme)
        assert isinstance(schemes.of("https://h/a"), HttpScheme)
        with pytest.raises(
            TransferRefused, match=r"gopher://b/k: gopher:// is not supported here; there are: .*file, ftp, ftps, "
        ):
            schemes.of("gopher://b/k")
        with pytest.raises(TransferRefused, match="git\\+https:// is not supported here"):
            schemes.of("git+https://b/k")
        with pytest.raises(TransferRefused, match="neither a URL nor an absolute path"):
            schemes.of("data/x")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("/srv/out/new/file", None),
        ("file:///srv/out", None),
        ("file:///srv", None),  # a folder of outputs: what lies in it may all go below the root
        ("s3://bucket/key", None),  # whether somebody there takes it is known when it is asked
        ("/srv/outside", "may not write here"),
        ("/srv/read/x", "may not write here"),
        ("/srv/out/.git/x", "may not write here"),
        ("ftp://h/x", "setting storage.schemes"),
        ("drs://h/x", "cannot be stored there"),
        ("crypt4gh+s3://h/x", "not supported yet"),
    ],
)
def test_what_could_never_be_stored_is_known_from_url_and_settings(url: str, why: str | None) -> None:
    settings = StorageSettings(
        schemes=("file", "s3", "drs", "crypt4gh"),
        file_roots=(FileRoot(path="/srv/out", write=True, hidden=False), FileRoot(path="/srv/read")),
    )
    said = refusal(settings, TransferList(caller="me", outputs=(Deliver(index=0, path="/o", url=url),)))
    assert (said is None) if why is None else (said is not None and why in said)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://dav.example.org/x", None),
        ("https://old.example.org/x", "old.example.org may not be called: setting storage.hosts_denied names it"),
        ("https://OLD.example.org:8443/x", "setting storage.hosts_denied names it"),
        ("ftp://old.example.org/x", "setting storage.hosts_denied names it"),
        ("ftps://elsewhere.org/x", "setting storage.hosts_allowed does not name it"),
        ("s3://bucket/key", "s3.us-east-1.amazonaws.com may not be called: setting storage.hosts_allowed"),
        ("s3://ours/key", None),
        ("gs://bucket/key", "setting storage.hosts_allowed does not name it"),
        ("az://account/container/key", "setting storage.hosts_allowed does not name it"),
    ],
)
def test_an_output_to_a_host_that_must_not_be_called_is_known_before_anything_runs(url: str, why: str | None) -> None:
    settings = StorageSettings(
        hosts_allowed=("*.example.org",),
        hosts_denied=("old.example.org",),
        s3=(S3Bucket(bucket="ours", endpoint="https://s3.example.org"),),
    )
    said = refusal(settings, TransferList(caller="me", outputs=(Deliver(index=0, path="/o", url=url),)))
    assert (said is None) if why is None else (said is not None and why in said)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://169.254.169.254/latest", "link-local and metadata addresses are never called"),
        ("http://[fd00:ec2::254]/latest", "link-local and metadata addresses are never called"),
        ("http://0xa9fea9fe/latest", "link-local and metadata addresses are never called"),
        ("ftp://10.0.0.7/x", "it is on this machine or in a private network"),
        ("http://192.0.2.1:99999/x", "no proper http URL"),
        ("http://8.8.8.8/x", None),
        ("http://nobody.invalid/x", None),  # what a name leads to is known when it is called
    ],
)
def test_an_output_to_an_address_that_must_not_be_called_is_known_before_anything_runs(
    url: str, why: str | None
) -> None:
    transfers = TransferList(caller="me", outputs=(Deliver(index=0, path="/o", url=url),))
    said = refusal(StorageSettings(private_addresses=False), transfers)
    assert (said is None) if why is None else (said is not None and why in said)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (
            "http://10.0.0.7/x",
            "inputs[1].url: 10.0.0.7 may not be called: it is on this machine or in a private network",
        ),
        ("drs://169.254.169.254/x", "inputs[1].url: 169.254.169.254 may not be called: link-local and metadata"),
        ("https://old.example.org/x", "inputs[1].url: old.example.org may not be called: setting storage.hosts_denied"),
        ("/srv/out/x", None),
        ("file:///srv", "inputs[1].url: file:///srv: tasks may not read here; they may read below: /srv/out"),
        ("gopher://h/x", "inputs[1].url: gopher://h/x: gopher:// is not supported here"),
        ("crypt4gh+https://h/x", "Crypt4GH is not supported yet"),
        ("data:,x", None),
        ("http://nobody.invalid/x", None),  # what a name leads to is known when it is called
    ],
)
def test_an_input_that_could_never_be_had_is_named_before_anything_runs(url: str, why: str | None) -> None:
    settings = StorageSettings(
        private_addresses=False, hosts_denied=("old.example.org",), file_roots=(FileRoot(path="/srv/out", write=True),)
    )
    inputs = (Fetch(index=0, path="/a", url=url, content="given"), Fetch(index=1, path="/b", url=url))
    said = refusal(settings, TransferList(caller="me", inputs=inputs))
    assert (said is None) if why is None else (said is not None and why in said)


def test_roots_and_credentials_belong_to_their_callers(tmp_path: object) -> None:
    settings = StorageSettings(
        file_roots=(FileRoot(path=str(tmp_path), callers=("ann",)),),
        http=(HttpCredential(host="h", token="t", callers=("ann",)),),
    )
    with Schemes(settings, "ann") as schemes:
        assert schemes.of("/x").stat(f"{tmp_path}") is not None
    with Schemes(settings, "bob") as schemes, pytest.raises(TransferRefused, match="they may read below: none"):
        schemes.of("/x").stat(f"{tmp_path}")


@pytest.mark.parametrize(
    ("current", "written"),
    [
        ("/data/project", ["/home/u/tesk", "/data/project"]),
        ("/home/u/project", ["/home/u/tesk", "/home/u/project"]),
        ("/home/u", ["/home/u/tesk", "/home/u"]),
        ("/home", ["/home/u/tesk"]),
        ("/", ["/home/u/tesk"]),
    ],
)
def test_a_loopback_server_reads_the_home_and_writes_where_it_was_started(current: str, written: list[str]) -> None:
    roots = default_roots(home="/home/u", current=current)
    assert roots[0] == FileRoot(path="/home/u", hidden=False)
    assert [root.path for root in roots if root.write] == written


def test_the_service_tells_of_the_roots_that_are_everybodys() -> None:
    roots = (FileRoot(path="/data sets/"), FileRoot(path="/ann", callers=("ann",)), FileRoot(path="/"))
    assert told(StorageSettings(file_roots=roots, schemes=("file",))) == ("file:///data%20sets/", "file:///")
    assert told(StorageSettings(file_roots=roots, schemes=("https", "drs", "data"))) == ("drs://", "https://")
    assert {"drs://", "ftp://", "ftps://", "http://", "https://", "s3://"} <= set(told(StorageSettings()))


def test_only_the_schemes_of_the_settings_may_be_used() -> None:
    with Schemes(StorageSettings(schemes=("https", "drs")), "me") as schemes:
        assert isinstance(schemes.of("https://h/a"), HttpScheme)
        for url in ("http://h/a", "/a", "data:,x"):
            with pytest.raises(
                TransferRefused, match=r"may not be used here \(setting storage\.schemes\).*: drs, https"
            ):
                schemes.of(url)


def test_a_scheme_in_the_settings_that_there_is_not_is_told_at_the_start() -> None:
    with pytest.raises(SettingsError, match=r"storage\.schemes: there is no htttp; there are: .*https"):
        in_force(StorageSettings(schemes=("htttp",)), personal=True, home="/h", current="/w", own=())


def test_what_wants_a_package_that_is_not_here_is_not_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"gs://", "az://"} < set(told(StorageSettings()))
    monkeypatch.setitem(sys.modules, "obstore", None)  # as if it was not installed
    assert not {"gs://", "az://", "abfs://"} & set(told(StorageSettings()))
    with Schemes(StorageSettings(), "me") as schemes, pytest.raises(TransferRefused) as refused:
        schemes.of("gopher://h/a")
    assert str(refused.value).endswith("there are: data, drs, file, ftp, ftps, http, https, s3")


def test_encryption_says_kindly_that_it_is_not_there_yet() -> None:
    with Schemes(StorageSettings(), "me") as schemes:
        for url in ("crypt4gh+https://h/a", "crypt4gh+file:///a"):
            with pytest.raises(TransferRefused, match="Crypt4GH is not supported yet"):
                schemes.of(url).stat(url)
        with pytest.raises(TransferRefused, match="gopher:// is not supported here"):
            schemes.of("crypt4gh+gopher://h/a").stat("crypt4gh+gopher://h/a")


def test_what_the_settings_leave_open_is_filled_in() -> None:
    where = {"home": "/home/u", "current": "/w", "own": ("/home/u/data",)}
    mine = in_force(StorageSettings(file_denied=("/x",)), personal=True, **where)
    assert (mine.private_addresses, mine.file_denied) == (True, ("/x", "/home/u/data"))
    assert mine.file_roots == default_roots(home="/home/u", current="/w")
    public = in_force(StorageSettings(), personal=False, **where)
    assert (public.file_roots, public.private_addresses) == ((), False)
    told = in_force(StorageSettings(file_roots=(), private_addresses=False), personal=True, **where)
    assert (told.file_roots, told.private_addresses) == ((), False)


@pytest.mark.parametrize(
    ("host", "public", "private"),
    [
        ("8.8.8.8", True, True),
        ("2606:4700::1111", True, True),
        ("127.0.0.1", False, True),
        ("10.1.2.3", False, True),
        ("192.168.0.1", False, True),
        ("100.64.0.1", False, True),
        ("::1", False, True),
        ("fc00::1", False, True),
        ("::ffff:10.0.0.1", False, True),
        ("64:ff9b::a00:1", False, True),
        ("2002:a00:1::", False, True),
        ("169.254.169.254", False, False),
        ("169.254.0.9", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("fe80::1%eth0", False, False),
        ("fd00:ec2::254", False, False),
        ("fd00:ec2::23", False, False),
        ("fd20:ce::254", False, False),
        ("100.100.100.200", False, False),
        ("168.63.129.16", False, False),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("224.0.0.1", False, False),
    ],
)
def test_who_may_be_called(host: str, public: bool, private: bool) -> None:
    assert (address.refusal(host, private=False) is None) is public
    assert (address.refusal(host, private=True) is None) is private
    assert may_lead_to_private(host) is not public


@pytest.mark.parametrize(
    ("url", "name", "whole"),
    [
        ("file:///out", "a b", "file:///out/a%20b"),
        ("file:///out/", "a/b#?%.txt", "file:///out/a/b%23%3F%25.txt"),
        ("/out", "a b%\udcff", "/out/a b%\udcff"),
        ("s3://bucket/p", "ä\n\udcff", "s3://bucket/p/%C3%A4%0A%FF"),
        ("https://h/p?sig=1", "a", "https://h/p/a?sig=1"),
        ("file:///o?x", "a", "file:///o?x/a"),
    ],
)
def test_a_name_below_a_url_is_encoded(url: str, name: str, whole: str) -> None:
    assert below(url, name) == whole


def test_a_url_is_shown_without_its_secrets() -> None:
    assert shown("https://u:p@h/a?X-Amz-Signature=1#f") == "https://h/a?...#f"
    assert shown("/a\n\udcff") == "/a\\n%FF"


def test_an_http_server_is_tried_as_often_as_the_settings_say(tmp_path: Path) -> None:
    settings = StorageSettings(tries=2, timeout_seconds=0.2, private_addresses=True, file_roots=())
    with web.serve(web.Silent) as server, Schemes(settings, "me") as schemes, (tmp_path / "x").open("w+b") as target:
        with pytest.raises(TransferFailed):
            schemes.of(server.url).get(f"{server.url}/f", target.fileno(), lambda size_bytes: None)
        assert len(server.requests) == 2


@pytest.mark.parametrize("host", ["", "dav.example.org/a", "https://", "me:secret@h", "ftp://h", "a b", "h:99999"])
def test_credentials_for_what_is_no_host_are_told_at_the_start(host: str) -> None:
    with pytest.raises(SettingsError, match=r"storage\.http: .* is no host; write host, host:port"):
        in_force(
            StorageSettings(http=(HttpCredential(host=host, token="t"),)), personal=True, home="/h", current="/", own=()
        )


@pytest.mark.parametrize("half", [S3Bucket(bucket="b", access_key_id="k"), S3Bucket(bucket="b", secret_access_key="s")])
def test_half_a_key_is_told_at_the_start(half: S3Bucket) -> None:
    with pytest.raises(SettingsError, match="the entry for 'b' has half a key"):
        in_force(StorageSettings(s3=(half,)), personal=True, home="/home/u", current="/", own=())
