"""Which hosts the settings let us call, by their names and by their addresses."""

import socket
from collections.abc import Iterator

import pytest

from tesk.errors import TransferRefused
from tesk.storage.address import Hosts, connect


@pytest.mark.parametrize(
    ("entry", "host", "meant"),
    [
        ("example.org", "example.org", True),
        ("example.org", "EXAMPLE.org.", True),
        ("example.org", "example.org\u3002", True),
        ("example.org", "example.org%.example.net", False),
        ("fd00::1", "[fd00::1%lo]", True),
        ("example.org", "a.example.org", False),
        ("*.example.org", "a.b.example.org", True),
        ("*.example.org", "example.org", False),
        ("*.example.org", "badexample.org", False),
        ("bücher.example", "xn--bcher-kva.example", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("*", "anywhere.example", True),
        ("::1", "[::1]", True),
    ],
)
def test_an_entry_means_a_host(entry: str, host: str, meant: bool) -> None:
    assert (Hosts(denied=(entry,)).refusal(host) is not None) is meant
    assert (Hosts(allowed=(entry,)).refusal(host) is None) is meant


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("hosts", "setting"),
    [
        (Hosts(denied=("127.0.0.0/8", "::1")), "hosts_denied"),
        (Hosts(denied=("localhost",)), "hosts_denied"),
        (Hosts(allowed=("10.0.0.0/8",)), "hosts_allowed"),
        (Hosts(allowed=("example.org",)), "hosts_allowed"),
    ],
)
def test_a_host_is_refused_by_its_name_or_its_address(hosts: Hosts, setting: str, listening: int) -> None:
    with pytest.raises(TransferRefused, match=rf"localhost may not be called: setting storage.{setting}"):
        connect("localhost", listening, private=True, timeout_seconds=5, hosts=hosts)


@pytest.mark.parametrize("allowed", ["localhost", "127.0.0.0/8"])
def test_a_host_is_called_that_is_named_or_has_an_address_that_is(allowed: str, listening: int) -> None:
    connect("localhost", listening, private=True, timeout_seconds=5, hosts=Hosts(allowed=(allowed,))).close()


def test_another_way_to_write_an_address_leads_nowhere_else(listening: int) -> None:
    with pytest.raises(TransferRefused, match="hosts_denied"):
        connect("127.1", listening, private=True, timeout_seconds=5, hosts=Hosts(denied=("127.0.0.1",)))
