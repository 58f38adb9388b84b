"""`data:` URLs: what a task carries in its own URLs."""

import os
import tempfile

import pytest

from tesk.errors import TransferRefused
from tesk.storage.data import DataScheme
from tesk.storage.url import shown


@pytest.mark.parametrize(
    ("url", "data"),
    [
        ("data:,hello%2C%20world", b"hello, world"),
        ("data:text/plain;charset=utf-8,a+b%00%ff", b"a+b\0\xff"),
        ("DATA:;base64,aGVsbG8=", b"hello"),
        ("data:application/octet-stream;BASE64,aGVsbG8", b"hello"),
        ("data:text/plain;base64,%61GVs%0Abg8g%3D%3D", b"hel\x6e\x0f "),
        ("data:;base64,-_-_", b"\xfb\xff\xbf"),
        ("data:,", b""),
        ("data:;base64,", b""),
        ("data:text/plain;x=base64,a", b"a"),
        ("data:,ä", "ä".encode()),
    ],
)
def test_the_data_are_those_of_the_url(url: str, data: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        told: list[int] = []
        assert DataScheme().get(url, file.fileno(), told.append).size_bytes == len(data) == sum(told)
        assert os.pread(file.fileno(), 100, 0) == data
    assert DataScheme().stat(url).size_bytes == len(data)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("data:hello", "no proper data: URL"),
        ("data:;base64,a", "no proper base64"),
        ("data:;base64,a%00bc", "no proper base64"),
    ],
)
def test_what_is_no_data_url_is_refused(url: str, words: str) -> None:
    with pytest.raises(TransferRefused, match=words):
        DataScheme().stat(url)


def test_nothing_goes_out_in_a_url() -> None:
    for act in (lambda: DataScheme().put(0, "data:,", print), lambda: DataScheme().make_directory("data:,")):
        with pytest.raises(TransferRefused, match="outputs cannot be stored in a data: URL"):
            act()
    with pytest.raises(TransferRefused, match="does not list folders"):
        DataScheme().list("data:,")


def test_messages_do_not_hold_the_data() -> None:
    assert shown("data:text/plain;base64,c2VjcmV0") == "data:text/plain;base64,..."
    assert len(shown("data:" + "x" * 1000)) < 100
