"""Addresses of servers."""

import base64

import pytest

from tesk.client.address import parse
from tesk.client.http1 import Origin
from tesk.errors import BadDocument


@pytest.mark.parametrize(
    ("url", "root", "bases"),
    [
        ("http://h:8000", "", ("/ga4gh/tes/v1", "/v1", "")),
        ("http://h:8000/", "", ("/ga4gh/tes/v1", "/v1", "")),
        ("http://h:8000/ga4gh/tes/v1", "", ("/ga4gh/tes/v1",)),
        ("http://h:8000/ga4gh/tes/v1/", "", ("/ga4gh/tes/v1",)),
        ("http://h:8000/v1", "", ("/v1",)),
        ("http://h:8000/proxied/tes", "/proxied/tes", ("/proxied/tes/ga4gh/tes/v1", "/proxied/tes/v1", "/proxied/tes")),
        ("http://h:8000/proxied/ga4gh/tes/v1", "/proxied", ("/proxied/ga4gh/tes/v1",)),
    ],
)
def test_the_api_is_looked_for_where_the_address_leaves_it_open(url, root, bases):
    address = parse(url)
    assert (address.root, address.bases) == (root, bases)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://h", Origin("h", 80, tls=False)),
        ("https://h", Origin("h", 443, tls=True)),
        ("h:8000", Origin("h", 8000, tls=False)),
        ("http://[::1]:8000", Origin("::1", 8000, tls=False)),
    ],
)
def test_an_origin_is_taken_out_of_an_address(url, origin):
    assert parse(url).origin == origin


def test_who_asks_is_a_token_or_a_name_with_a_password():
    assert parse("http://h").authorization == ""
    assert parse("http://h", "abc").authorization == "Bearer abc"
    basic = parse("http://ada:p%40ss@h").authorization
    assert base64.b64decode(basic.removeprefix("Basic ")) == b"ada:p@ss"


@pytest.mark.parametrize(
    "url",
    ["ftp://h", "http://h/?x=1", "http://", "http://h:port", "http://h:99999", "http://h/a b", "http://h\r\nX: y"],
)
def test_what_is_no_address_is_refused_with_an_example(url):
    with pytest.raises(BadDocument, match="is no address"):
        parse(url)


def test_a_token_with_a_line_end_is_refused():
    with pytest.raises(BadDocument):
        parse("http://h", "abc\r\nX: y")


@pytest.mark.parametrize("url", ["http://ada:secret@h:99999", "ada:secret@h/a b", "http://ada:secret@h/ü"])
def test_a_password_is_in_no_message(url):
    with pytest.raises(BadDocument) as caught:
        parse(url)
    assert "secret" not in str(caught.value)
