"""With which keys a bucket is opened: those of the settings, of a profile, of a role; none means anonymous.

Nothing is looked for that the settings do not name: no variables of the environment, no chain of guesses. Only
`role = "instance"` asks the machine's metadata service, and only that of Amazon.
"""

import os
import re
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote

from msgspec import DecodeError, Struct, json

from tesk.errors import TransferRefused
from tesk.settings import S3Bucket
from tesk.storage.answer import Answer
from tesk.storage.objects.listing import complaint, element
from tesk.storage.objects.signature import Keys
from tesk.storage.patience import Again
from tesk.storage.site import Place, Site
from tesk.storage.wire import Wire

_EARLY_SECONDS = 300.0
"""Keys are fetched anew so long before they expire: a large object takes its time."""
_METADATA = ("169.254.169.254", 80)
_METADATA_SECONDS = 2.0
_LIFETIME_SECONDS = 3600
_DOCUMENT_BYTES = 64 * 1024
_HEADING = re.compile(r"\[\s*([^\]]*?)\s*\]")
_PAIR = re.compile(r"([A-Za-z_][\w-]*)\s*=\s*(.*?)\s*$")


class Profile(NamedTuple):
    """What a profile of the AWS files says; "" for what it does not."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    region: str
    endpoint: str


class Credentials:
    """Gives the keys of one entry of the settings, from any thread; those of a role are kept until shortly before they expire."""

    def __init__(self, fetch: Callable[[], Keys | None]) -> None:
        self._fetch = fetch
        self._keys: Keys | None = None
        self._fetched = False
        self._lock = threading.Lock()

    def keys(self) -> Keys | None:
        """Return the keys, None for anonymous. Raises TransferRefused, Again, OSError."""
        with self._lock:
            late = self._keys is not None and self._keys.expires is not None and self._keys.expires - _EARLY_SECONDS
            if not self._fetched or (late and late < time.time()):
                self._keys = self._fetch()
                self._fetched = True
            return self._keys


def credentials(
    known: S3Bucket, profile: Profile | None, wire: Wire, *, region: str = "", metadata: tuple[str, int] = _METADATA
) -> Credentials:
    """Return what the settings say about a bucket. `wire` calls the token service, `metadata` is where a machine's role is told."""
    if known.access_key_id:
        return Credentials(lambda: Keys(known.access_key_id, known.secret_access_key, known.session_token))
    if profile is not None:
        return Credentials(lambda: Keys(profile.access_key_id, profile.secret_access_key, profile.session_token))
    match known.role:
        case "instance":
            return Credentials(lambda: _of_the_machine(metadata))
        case "web-identity":
            return Credentials(lambda: _of_a_token(wire, region))
        case "":
            return Credentials(lambda: None)


def profile_of(name: str, environment: dict[str, str] | None = None) -> Profile:
    """Read a profile from the files that AWS's own tools read. Raises TransferRefused where it has no keys."""
    named = os.environ if environment is None else environment
    files = (
        os.path.expanduser(named.get("AWS_CONFIG_FILE", "~/.aws/config")),
        os.path.expanduser(named.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")),
    )
    said: dict[str, str] = {}
    # In the file `config` the default profile stands without the word.
    for path, sections in zip(files, ({f"profile {name}"} | {name} & {"default"}, {name}), strict=True):
        try:
            said |= _section(path, sections)
        except (OSError, UnicodeDecodeError) as error:
            raise TransferRefused(f"the profile {name} (setting storage.s3) cannot be read from {path}") from error
    if not said.get("aws_access_key_id") or not said.get("aws_secret_access_key"):
        raise TransferRefused(
            f"the profile {name} (setting storage.s3) has no aws_access_key_id and aws_secret_access_key in {' or '.join(files)}"
        )
    return Profile(
        said["aws_access_key_id"],
        said["aws_secret_access_key"],
        said.get("aws_session_token", ""),
        said.get("region", ""),
        said.get("endpoint_url", ""),
    )


def _section(path: str, names: set[str]) -> dict[str, str]:
    """Read sections of an AWS file: `[name]`, lines of `key = value`, comments; what is indented belongs to other tools."""
    said: dict[str, str] = {}
    inside = False
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            for line in file:
                if heading := _HEADING.match(line):
                    inside = " ".join(heading[1].split()) in names
                elif inside and (pair := _PAIR.match(line)):
                    said[pair[1].lower()] = pair[2]
    return said


class _Told(Struct, rename="pascal"):
    """What the metadata service says about a role."""

    access_key_id: str
    secret_access_key: str
    token: str
    expiration: str


def _of_the_machine(metadata: tuple[str, int]) -> Keys:
    """Ask the metadata service, in its version 2 only (with a token, which no redirect and no proxy can ask for).

    The one place that may call this address: `address.connect` lets nobody.
    """
    token = _ask(metadata, "PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 21600")
    known = f"X-aws-ec2-metadata-token: {token}"
    where = "/latest/meta-data/iam/security-credentials/"
    role = _ask(metadata, "GET", where, known).split("\n")[0]
    try:
        said = json.decode(_ask(metadata, "GET", where + quote(role, safe=""), known), type=_Told)
    except DecodeError as error:
        raise Again("the machine's metadata service says no keys") from error
    return Keys(said.access_key_id, said.secret_access_key, said.token, _seconds(said.expiration))


def _ask(metadata: tuple[str, int], method: str, path: str, header: str) -> str:
    with socket.create_connection(metadata, timeout=_METADATA_SECONDS) as line:
        head = f"{method} {path} HTTP/1.1\r\nHost: {metadata[0]}\r\nConnection: close\r\nContent-Length: 0\r\n{header}\r\n\r\n"
        line.sendall(head.encode("latin-1"))
        answer = Answer(line, method, Place(Site(False, *metadata), path, None))
        answer.begin()
        body = answer.read_at_most(_DOCUMENT_BYTES).decode("utf-8", "replace").strip()
    if answer.status == 404:
        raise TransferRefused("this machine has no role (setting storage.s3, role = 'instance')")
    if answer.status != 200:
        raise Again(f"the machine's metadata service answers {answer.status}")
    return body


def _of_a_token(wire: Wire, region: str) -> Keys:
    """Have the token service change a projected token for keys (AssumeRoleWithWebIdentity)."""
    role, path = os.environ.get("AWS_ROLE_ARN"), os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE")
    if not role or not path:
        raise TransferRefused(
            "role = 'web-identity' (setting storage.s3) wants AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE in the environment"
        )
    with open(path, encoding="ascii") as file:
        token = file.read().strip()
    service = os.environ.get("AWS_ENDPOINT_URL_STS") or f"https://sts.{region}.amazonaws.com"
    asked = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "DurationSeconds": str(_LIFETIME_SECONDS),
        "RoleArn": role,
        "RoleSessionName": os.environ.get("AWS_ROLE_SESSION_NAME") or "tesk",
        "WebIdentityToken": token,
    }
    form = "&".join(f"{name}={quote(value, safe='')}" for name, value in asked.items())
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    with wire.ask(f"{service.rstrip('/')}/", "POST", headers, body=form.encode(), onward_too=False) as answer:
        said = answer.said or answer.read_at_most(_DOCUMENT_BYTES)
        if answer.status >= 500:
            raise Again(f"the token service answers {answer.status}")
        if answer.status != 200:
            raise TransferRefused(f"the token service gives no keys for {role}: {complaint(said)}")
    return Keys(
        element(said, "AccessKeyId"),
        element(said, "SecretAccessKey"),
        element(said, "SessionToken"),
        _seconds(element(said, "Expiration")),
    )


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text[:19]).replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise Again(f"keys that expire at no time ({text[:40]!r})") from error
