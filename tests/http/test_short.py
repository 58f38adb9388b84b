"""A head that was understood once: what is like it but for some values is the same, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesk.http.short import LENGTH, ShortWay

HEAD = b"POST /webhook HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\nwebhook-id: a\r\nWebhook-Signature: v1,x\r\n\r\n"
NAMES = (LENGTH, b"webhook-signature", b"webhook-id")


def again(*_):
    return True


def head(length, webhook_id, signature):
    return HEAD.replace(b": 2", b": %b" % length).replace(b": a", b": %b" % webhook_id).replace(b"v1,x", signature)


value = st.binary(max_size=20).filter(lambda text: not set(b"\r\n") & set(text))


@given(body=st.binary(max_size=300), webhook_id=value, signature=value)
def test_values_and_body_of_a_like_head_are_found(body, webhook_id, signature):
    way = ShortWay(HEAD, NAMES, again)
    data = head(b"%d" % len(body), webhook_id, signature) + body
    assert way.match(data) == (body, (signature, webhook_id))
    for wrong in (data[:-1], data + b"x"):
        assert way.match(wrong) is None


@pytest.mark.parametrize(
    "other",
    [
        HEAD.replace(b"here", b"there") + b"ab",
        HEAD.replace(b"/webhook", b"/webhook/x") + b"ab",
        HEAD.replace(b": a\r", b": a\r\nX: y\r") + b"ab",
        HEAD.replace(b": a\r", b": a\r\n folded\r") + b"ab",
        HEAD.replace(b": a\r", b": a\nX: y\r") + b"ab",
        HEAD.replace(b": 2", b": +2") + b"ab",
        HEAD.replace(b": 2", b": 2, 2") + b"ab",
        HEAD.replace(b": 2", b": ") + b"ab",
        HEAD.replace(b": 2", b": 1234567890") + b"ab",
        HEAD[:60],
        b"",
    ],
)
def test_what_differs_elsewhere_is_not_like_it(other):
    way = ShortWay(HEAD, NAMES, again)
    assert way.match(HEAD + b"ab") is not None
    assert way.match(other) is None


@given(data=st.binary(max_size=200))
def test_no_bytes_break_it(data):
    found = ShortWay(HEAD, NAMES, again).match(data)
    assert found is None


def test_a_head_without_a_body_is_like_itself_alone():
    asked = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
    way = ShortWay(asked, (), again)
    assert way.match(asked) == (b"", ())
    assert way.match(asked + b"x") is None
    assert way.match(asked[:-1]) is None


@pytest.mark.parametrize(
    "strange",
    [
        HEAD.replace(b"webhook-id: a\r\n", b""),
        HEAD.replace(b"webhook-id: a\r\n", b"webhook-id: a\r\nWebhook-Id: b\r\n"),
        HEAD.replace(b"Content-Length: 2\r\n", b"Transfer-Encoding: chunked\r\n"),
    ],
)
def test_a_head_that_names_a_header_twice_or_not_at_all_knows_no_short_way(strange):
    with pytest.raises(ValueError, match="does not stand there once"):
        ShortWay(strange, NAMES, again)
