"""With which keys a bucket is opened: those of the settings, of a profile, of a role; none means anonymous.

Nothing is looked for that the settings do not name: no variables of the environment, no chain of guesses. Only
`role = "instance"` asks the machine's metadata service, and only that of Amazon.
"""

import calendar
import configparser
import http.client
import os
import threading
import time
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote

from msgspec import DecodeError, Struct, json

from tesk.errors import TransferRefused
from tesk.settings import S3Bucket
from tesk.storage.objects.listing import complaint, element
from tesk.storage.objects.signature import Keys
from tesk.storage.patience import Again
from tesk.storage.wire import Wire

_EARLY_SECONDS = 300.0
"""Keys are fetched anew so long before they expire: a large object takes its time."""
_METADATA = ("169.254.169.254", 80)
_METADATA_SECONDS = 2.0
_LIFETIME_SECONDS = 3600
_DOCUMENT_BYTES = 64 * 1024


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
    for path, section in zip(files, (f"profile {name}", name), strict=True):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path)
        except (configparser.Error, OSError, UnicodeDecodeError) as error:
            raise TransferRefused(f"the profile {name} (setting storage.s3) cannot be read from {path}") from error
        if name == "default" and not parser.has_section(section):
            section = name  # noqa: PLW2901  in the file `config` this one profile stands without the word
        if parser.has_section(section):
            said |= dict(parser.items(section))
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


class _Told(Struct, rename="pascal"):
    """What the metadata service says about a role."""

    access_key_id: str
    secret_access_key: str
    token: str
    expiration: str


def _of_the_machine(metadata: tuple[str, int]) -> Keys:
    """Ask the metadata service, in its version 2 only (with a token, which no redirect and no proxy can ask for)."""
    line = http.client.HTTPConnection(*metadata, timeout=_METADATA_SECONDS)
    try:
        token = _ask(line, "PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "21600"})
        known = {"X-aws-ec2-metadata-token": token.decode("latin-1")}
        where = "/latest/meta-data/iam/security-credentials/"
        role = _ask(line, "GET", where, known).decode("latin-1").split("\n")[0].strip()
        said = json.decode(_ask(line, "GET", where + quote(role, safe=""), known), type=_Told)
    except DecodeError as error:
        raise Again("the machine's metadata service says no keys") from error
    except http.client.HTTPException as error:
        raise Again(f"the machine's metadata service does not speak HTTP ({type(error).__name__})") from error
    finally:
        line.close()
    return Keys(said.access_key_id, said.secret_access_key, said.token, _seconds(said.expiration))


def _ask(line: http.client.HTTPConnection, method: str, path: str, headers: dict[str, str]) -> bytes:
    line.request(method, path, headers=headers)
    answer = line.getresponse()
    body = answer.read(_DOCUMENT_BYTES)
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
    with wire.ask(f"{service.rstrip('/')}/", "POST", headers, body=form.encode()) as answer:
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
        return float(calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")))
    except ValueError as error:
        raise Again(f"keys that expire at no time ({text[:40]!r})") from error
