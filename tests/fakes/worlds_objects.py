"""The worlds of object stores: S3 on a real server, Google's and Azure's on what emulates them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import seaweed
from fakes.worlds import World
from tesk.settings import S3Bucket
from tesk.storage.objects.s3 import S3Scheme
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
