"""A file given in order: whole, or a failure that says so; never anything twice."""

import os
from hashlib import sha256

import pytest

from fakes.web import BreaksInTheMiddle, BreaksWithoutRanges, ChangesInTheMiddle, Chunked, Files, Says, serve
from tesk.errors import TransferFailed, TransferRefused
from tesk.storage.http import HttpScheme
from tesk.storage.patience import Patience
from tesk.storage.scheme import Streams

DATA = os.urandom(300_000)


def stream(handler: type[Files], given: bytearray, path: str = "/f", **files: bytes) -> None:
    scheme = HttpScheme(private=True, patience=Patience(5, wait=lambda seconds, advance: None))
    assert isinstance(scheme, Streams)
    with serve(handler, {"/f": DATA, **{f"/{name}": data for name, data in files.items()}}) as web:
        try:
            assert scheme.stream(web.url + path, given.extend) == len(given)
        finally:
            scheme.close()


@pytest.mark.parametrize("handler", [Files, BreaksInTheMiddle, BreaksWithoutRanges], ids=lambda one: one.__name__)
def test_a_file_is_given_once_and_whole_also_over_a_line_that_breaks(handler: type[Files]) -> None:
    given = bytearray()
    stream(handler, given)
    assert sha256(given).digest() == sha256(DATA).digest()


def test_an_empty_file_is_given() -> None:
    given = bytearray()
    stream(Files, given, "/empty", empty=b"")
    assert given == b""


@pytest.mark.parametrize("handler", [ChangesInTheMiddle, Chunked], ids=lambda one: one.__name__)
def test_what_cannot_go_on_with_the_same_version_fails_and_is_never_mixed(handler: type[Files]) -> None:
    given = bytearray()
    with pytest.raises(TransferFailed, match="which the program has read"):
        stream(handler, given, second=os.urandom(300_000))
    assert len(given) > 0
    assert sha256(given).digest() == sha256(DATA[: len(given)]).digest()


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(TransferRefused, match="404"):
        stream(Says, bytearray(), "/404")
