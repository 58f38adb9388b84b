"""Who opens a bucket with what: callers, profiles, roles; and that nobody else is asked for keys."""

import contextlib
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import seaweed
from fakes import raw_web
from fakes.worlds_objects import weed
from tesk.errors import TransferFailed, TransferRefused
from tesk.settings import AzContainer, GsBucket, S3Bucket, StorageSettings
from tesk.storage.objects import az, gs, s3
from tesk.storage.objects.credentials import Credentials, credentials, profile_of
from tesk.storage.objects.signature import Keys
from tesk.storage.wire import Wire

SOON, LATE = "2026-11-24T00:00:00Z", "2099-01-01T00:00:00Z"


def settings(**known: object) -> StorageSettings:
    return StorageSettings(tries=1, timeout_seconds=20.0, private_addresses=True, **known)


def entry(server: seaweed.Server, **options: object) -> S3Bucket:
    own = {"endpoint": server.url, "access_key_id": seaweed.ACCESS_KEY, "secret_access_key": seaweed.SECRET_KEY}
    return S3Bucket(**{**own, **options})


@contextlib.contextmanager
def answering(answers: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """A server that says by method and path what it knows; gives its address and what it was asked."""
    asked: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Say nothing."""

        def __getattr__(self, name: str) -> Callable[[], None]:
            if name.startswith("do_"):
                return self.answer
            raise AttributeError(name)

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append(f"{self.command} {self.path} {body.decode()}".strip())
            said = answers.get(f"{self.command} {self.path}")
            self.send_response(404 if said is None else 200)
            self.send_header("Content-Length", str(len(said or "")))
            self.end_headers()
            self.wfile.write((said or "").encode())

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def test_the_first_entry_that_names_bucket_and_caller_counts() -> None:
    server = weed()
    bucket = server.new_bucket()
    server.plant(bucket, "x", b"1")
    known = (
        entry(server, bucket="other-*", secret_access_key="wrong"),
        entry(server, bucket="test-*", callers=("ann",)),
        entry(server, access_key_id="", secret_access_key=""),
    )
    for caller, may in (("ann", True), ("bob", False)):
        scheme = s3.for_caller(settings(s3=known), caller)
        with contextlib.closing(scheme):
            if may:
                assert scheme.stat(f"s3://{bucket}/x") is not None
            else:
                with pytest.raises(
                    TransferRefused, match=f"no credentials for s3 bucket {bucket}: set storage.s3"
                ) as no:
                    scheme.stat(f"s3://{bucket}/x")
                assert seaweed.SECRET_KEY not in str(no.value)


def test_anybody_reads_what_is_public_without_keys() -> None:
    server = weed()
    bucket = server.new_bucket(public=True)
    server.plant(bucket, "x", b"1")
    scheme = s3.for_caller(settings(s3=(S3Bucket(endpoint=server.url),)), "")
    with contextlib.closing(scheme), tempfile.TemporaryFile() as file:
        assert scheme.get(f"s3://{bucket}/x", file.fileno(), lambda count: None).size_bytes == 1
        with pytest.raises(TransferRefused, match="no credentials for s3 bucket"):
            scheme.put(file.fileno(), f"s3://{bucket}/y", lambda count: None)


def test_wrong_keys_are_told_apart_from_none() -> None:
    server = weed()
    scheme = s3.for_caller(settings(s3=(entry(server, secret_access_key="wrong"),)), "")
    with contextlib.closing(scheme), pytest.raises(TransferRefused, match=r"do not allow it.*SignatureDoesNotMatch"):
        list(scheme.list("s3://test-1"))


def test_variables_of_the_environment_open_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    server = weed()
    for name, value in {
        "AWS_ACCESS_KEY_ID": seaweed.ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": seaweed.SECRET_KEY,
        "AWS_ENDPOINT_URL": server.url,
    }.items():
        monkeypatch.setenv(name, value)
    bucket = server.new_bucket()
    scheme = s3.for_caller(settings(s3=(S3Bucket(endpoint=server.url),)), "")
    with contextlib.closing(scheme), pytest.raises(TransferRefused, match="no credentials"):
        list(scheme.list(f"s3://{bucket}"))


def test_a_bucket_may_be_part_of_the_name_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    server = weed()
    bucket = server.new_bucket()
    really = socket.getaddrinfo

    def look_up(host: str, *args: object, **options: object) -> object:
        return really("127.0.0.1" if host == f"{bucket}.s3.test" else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    known = entry(server, endpoint=server.url.replace("127.0.0.1", "s3.test"), virtual_host=True)
    scheme = s3.for_caller(settings(s3=(known,)), "")
    with contextlib.closing(scheme), tempfile.TemporaryFile() as file:
        file.write(b"data")
        file.flush()
        scheme.put(file.fileno(), f"s3://{bucket}/a b/c", lambda count: None)
        assert [one.name for one in scheme.list(f"s3://{bucket}")] == ["a b", "a b/c"]
    assert server.stored(bucket, "a b/c") == b"data"


def test_who_has_an_s3_of_their_own_is_told_where_to_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # a machine without a way to Amazon
    with (
        contextlib.closing(s3.for_caller(StorageSettings(tries=1), "ann")) as scheme,
        pytest.raises(
            TransferFailed, match=r"if bucket ours is at another server than Amazon's, say so in storage\.s3"
        ),
    ):
        scheme.stat("s3://ours/key")


def test_a_profile_gives_keys_and_endpoint(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[profile lab]\nregion = eu-west-1\nendpoint_url = https://s3.example.org\n")
    (tmp_path / "credentials").write_text("[lab]\naws_access_key_id = a\naws_secret_access_key = b%c\n[empty]\n")
    environment = {
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
    }
    assert profile_of("lab", environment) == ("a", "b%c", "", "eu-west-1", "https://s3.example.org")
    for name in ("empty", "nothing"):
        with pytest.raises(TransferRefused, match=f"the profile {name} .* has no aws_access_key_id"):
            profile_of(name, environment)


def test_only_the_role_of_the_machine_asks_the_machine() -> None:
    where = "/latest/meta-data/iam/security-credentials/"
    said = {"AccessKeyId": "a", "SecretAccessKey": "b", "Token": "c", "Expiration": LATE, "Code": "Success"}
    answers = {"PUT /latest/api/token": "t", f"GET {where}": "my role", f"GET {where}my%20role": json.dumps(said)}
    with answering(answers) as (host, asked), contextlib.closing(Wire(private=True)) as wire:
        name, _, port = host.partition(":")
        for known in (S3Bucket(), S3Bucket(access_key_id="x", secret_access_key="y")):
            credentials(known, None, wire, metadata=(name, int(port))).keys()
        assert asked == []
        role = credentials(S3Bucket(role="instance"), None, wire, metadata=(name, int(port)))
        assert role.keys() == role.keys() == Keys("a", "b", "c", 4070908800.0)
        assert len(asked) == 3


def test_a_machine_without_a_role_is_told() -> None:
    with answering({"PUT /latest/api/token": "t"}) as (host, _), contextlib.closing(Wire(private=True)) as wire:
        name, _, port = host.partition(":")
        role = credentials(S3Bucket(role="instance"), None, wire, metadata=(name, int(port)))
        with pytest.raises(TransferRefused, match="this machine has no role"):
            role.keys()


def test_a_projected_token_is_changed_for_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = f"<R><AccessKeyId>a</AccessKeyId><SecretAccessKey>b/+&amp;</SecretAccessKey><SessionToken>c</SessionToken><Expiration>{LATE}</Expiration></R>"
    (tmp_path / "token").write_text("the token\n")
    known = S3Bucket(role="web-identity")
    with answering({"POST /": said}) as (host, asked), contextlib.closing(Wire(private=True)) as wire:
        with pytest.raises(TransferRefused, match="AWS_ROLE_ARN"):
            credentials(known, None, wire).keys()
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/x")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://{host}")
        assert credentials(known, None, wire).keys() == Keys("a", "b/+&", "c", 4070908800.0)
    assert "Action=AssumeRoleWithWebIdentity" in asked[0]
    assert "WebIdentityToken=the%20token" in asked[0]


def test_a_projected_token_goes_to_no_other_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("secret")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/x")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    with raw_web.serve(b"HTTP/1.1 200 OK\r\n\r\n") as other:
        leads = b"HTTP/1.1 307 Go\r\nLocation: %s/\r\nContent-Length: 0\r\n\r\n" % other.url.encode()
        with raw_web.serve(leads) as service, contextlib.closing(Wire(private=True)) as wire:
            monkeypatch.setenv("AWS_ENDPOINT_URL_STS", service.url)
            with pytest.raises(TransferRefused, match="sends us elsewhere with what is for it alone"):
                credentials(S3Bucket(role="web-identity"), None, wire).keys()
        assert other.heads == []


def test_keys_are_fetched_anew_before_they_expire() -> None:
    fetched: list[float] = []

    def fetch() -> Keys:
        fetched.append(time.time() + (60 if not fetched else 3600))
        return Keys("a", "b", "c", fetched[-1])

    role = Credentials(fetch)
    for _ in range(3):
        role.keys()
    assert len(fetched) == 2


def test_a_private_name_is_called_only_where_the_settings_name_it() -> None:
    server = weed()
    closed = StorageSettings(tries=1, private_addresses=False, s3=(entry(server),), hosts_denied=("127.0.0.1",))
    for known, words in (
        (closed, "hosts_denied"),
        (settings(s3=(entry(server, endpoint="http://169.254.169.254"),)), "link-local"),
    ):
        scheme = s3.for_caller(known, "")
        with contextlib.closing(scheme), pytest.raises(TransferRefused, match=words):
            list(scheme.list("s3://test-1"))
    scheme = s3.for_caller(StorageSettings(tries=1, private_addresses=False, s3=(entry(server),)), "")
    with contextlib.closing(scheme):
        assert list(scheme.list(f"s3://{server.new_bucket()}")) == []


@pytest.mark.parametrize(
    ("module", "known", "url", "words"),
    [
        (gs, {"gs": (GsBucket(endpoint="http://169.254.169.254"),)}, "gs://bucket/x", "link-local"),
        (az, {"az": (AzContainer(account="acc", endpoint="http://169.254.169.254"),)}, "az://acc/cont/x", "link-local"),
        (gs, {"gs": (GsBucket(endpoint="http://127.0.0.1:9"),)}, "gs://bucket/x", "no credentials for gs bucket bucket: set storage.gs"),
        (az, {"az": (AzContainer(account="acc", endpoint="http://127.0.0.1:9"),)}, "az://acc/cont/x", "no credentials for az container acc/cont: set storage.az"),
    ],
)  # fmt: skip
def test_nobody_writes_without_credentials(module, known: dict[str, object], url: str, words: str) -> None:
    scheme = module.for_caller(settings(**known), "")
    with tempfile.TemporaryFile() as file, pytest.raises(TransferRefused, match=words):
        scheme.put(file.fileno(), url, lambda count: None)
    assert os.environ.get("GOOGLE_APPLICATION_CREDENTIALS") is None
