"""Where a server or a listener listens: at every address of its host, or nowhere, with a sentence."""

import socket

import pytest

from tesk.errors import StartError
from tesk.http.serve import authority, listen


@pytest.fixture
def bound():
    """Listen somewhere, and close it all at the end."""
    opened = []

    def bind(host, port=0, strangers="say who may come"):
        opened.extend(listen(host, port, setting="x.host", strangers=strangers))
        return opened

    yield bind
    for each in opened:
        each.close()


def test_every_address_of_a_host_is_listened_on_at_one_port(bound):
    sockets = bound("localhost")
    there = {place[0] for *_, place in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    assert {each.getsockname()[0] for each in sockets} == there
    assert len({each.getsockname()[1] for each in sockets}) == 1


def test_an_address_that_others_reach_is_served_only_where_somebody_says_who_they_are(bound):
    with pytest.raises(StartError, match=r"0\.0\.0\.0 is none: say who may come"):
        bound("0.0.0.0")
    (only,) = bound("0.0.0.0", strangers="")
    assert authority(only) == f"0.0.0.0:{only.getsockname()[1]}"


@pytest.mark.parametrize("host", ["nobody.invalid", "a..b", "a" * 64])
def test_a_host_without_an_address_is_said_by_its_setting(bound, host):
    with pytest.raises(StartError, match=r"x\.host: .* has no address"):
        bound(host)


def test_a_port_that_is_taken_is_said_and_nothing_stays_open(bound):
    (one,) = bound("127.0.0.1")
    one.listen()
    with pytest.raises(StartError, match="Cannot listen"):
        bound("127.0.0.1", one.getsockname()[1])
