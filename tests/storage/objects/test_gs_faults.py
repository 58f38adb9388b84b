"""Google's objects over a line that spoils them."""

import os
import tempfile
from pathlib import Path

import pytest

from fakes.between import Broken
from fakes.worlds_objects import google, weed
from tesk.errors import TransferFailed


def nothing(size_bytes: int) -> None:
    """An Advance that lets everything pass."""


def test_what_google_sends_is_held_to_the_md5_that_its_etag_is(tmp_path: Path) -> None:
    with google(tmp_path) as (middle, scheme, bucket), tempfile.TemporaryFile() as target:
        weed().plant(bucket, "x", b"data" * 1000)
        middle.break_first(99, Broken(flipped=True), method="GET")
        with pytest.raises(TransferFailed, match=r"its MD5 is [0-9a-f]{32}, but the server says [0-9a-f]{32}; tried"):
            scheme.get(f"gs://{bucket}/x", target.fileno(), nothing)
        assert os.fstat(target.fileno()).st_size == 0
        middle.break_first(0, Broken())
        assert scheme.get(f"gs://{bucket}/x", target.fileno(), nothing).size_bytes == 4000
