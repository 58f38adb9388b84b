"""The worlds of object stores: S3 on a real server, Google's and Azure's on what emulates them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

import azurite
import seaweed
from fakes.between import Between, between
from fakes.worlds import World
from fakes.worlds_web import certificate
from tesk.settings import AzContainer, GsBucket, S3Bucket, StorageSettings
from tesk.storage.objects import az, gs
from tesk.storage.objects.s3 import S3Scheme
from tesk.storage.objects.stores import StoreScheme
from tesk.storage.patience import Patience


@contextlib.contextmanager
def over_s3(folder: Path) -> Iterator[World]:
    server = weed()
    bucket = server.new_bucket()
    with s3_scheme(server.url) as scheme:
        yield World(
            scheme,
            f"s3://{bucket}/top",
            lambda name, data: server.plant(bucket, f"top/{name}", data),
            lambda name: server.stored(bucket, f"top/{name}"),
            bytes_in_names=False,
        )


@contextlib.contextmanager
def over_s3_and_tls(folder: Path) -> Iterator[World]:
    """As a public server: what is sent is not summed for the signature."""
    server = weed()
    bucket = server.new_bucket()
    served, trusting = certificate(folder)
    with between(server.url, served) as middle, s3_scheme(middle.url, context=trusting) as scheme:
        yield World(
            scheme,
            f"s3://{bucket}",
            lambda name, data: server.plant(bucket, name, data),
            lambda name: server.stored(bucket, name),
            bytes_in_names=False,
        )


def weed() -> seaweed.Server:
    """Give the S3 server of this run; skip where there is none."""
    try:
        return seaweed.shared()
    except seaweed.Missing as missing:
        pytest.skip(str(missing))


@contextlib.contextmanager
def s3_scheme(endpoint: str, *, tries: int = 1, **options: object) -> Iterator[S3Scheme]:
    """A scheme with the keys of the tests' server, whose waits take no time."""
    known = S3Bucket(endpoint=endpoint, access_key_id=seaweed.ACCESS_KEY, secret_access_key=seaweed.SECRET_KEY)
    patience = Patience(tries, wait=lambda seconds, advance: None)
    scheme = S3Scheme((known,), **{"patience": patience, "timeout_seconds": 20.0, **options})
    try:
        yield scheme
    finally:
        scheme.close()


@contextlib.contextmanager
def google(folder: Path) -> Iterator[tuple[Between, StoreScheme, str]]:
    """What obstore speaks with Google is the XML API, which is S3's but for the signature: SeaweedFS, and somebody between
    who takes away the token that it does not know. Gives that one, the scheme, and a bucket.
    """
    server = weed()
    bucket = server.new_bucket(writable=True)
    service_account = folder / "account.json"
    service_account.write_text('{"disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": ""}')
    with between(server.url) as middle:
        middle.drops = frozenset({"authorization"})
        known = GsBucket(endpoint=middle.url, service_account_file=str(service_account))
        with _scheme(gs.for_caller(_settings(gs=(known,)), "")) as scheme:
            yield middle, scheme, bucket


@contextlib.contextmanager
def over_gs(folder: Path) -> Iterator[World]:
    server = weed()
    with google(folder) as (_, scheme, bucket):
        yield World(
            scheme,
            f"gs://{bucket}/top",
            lambda name, data: server.plant(bucket, f"top/{name}", data),
            lambda name: server.stored(bucket, f"top/{name}"),
            folders=False,
            bytes_in_names=False,
            lines_in_names=False,
        )


@contextlib.contextmanager
def azure(known: AzContainer) -> Iterator[StoreScheme]:
    """A scheme with one entry of the settings, which tries once."""
    with _scheme(az.for_caller(_settings(az=(known,)), "")) as scheme:
        yield scheme


@contextlib.contextmanager
def over_az(folder: Path) -> Iterator[World]:
    server = azures()
    container = server.new_container()

    def plant(name: str, data: bytes) -> None:
        server.ask("PUT", f"{container}/top/{quote(name)}", data, headers={"x-ms-blob-type": "BlockBlob"})

    with azure(AzContainer(account=azurite.ACCOUNT, endpoint=server.url, account_key=azurite.KEY)) as scheme:
        yield World(
            scheme,
            f"az://{azurite.ACCOUNT}/{container}/top",
            plant,
            lambda name: server.ask("GET", f"{container}/top/{quote(name)}"),
            bytes_in_names=False,
            lines_in_names=False,
        )


def azures() -> azurite.Azurite:
    """Give the emulator of this run; skip where there is none."""
    try:
        return azurite.shared()
    except seaweed.Missing as missing:
        pytest.skip(str(missing))


def _settings(**known: object) -> StorageSettings:
    return StorageSettings(tries=1, timeout_seconds=20.0, **known)


@contextlib.contextmanager
def _scheme(made: StoreScheme) -> Iterator[StoreScheme]:
    try:
        yield made
    finally:
        made.close()
