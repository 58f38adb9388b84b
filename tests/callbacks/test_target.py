"""Who may be called: what is refused when a URL is set, and what when it is called."""

import pytest

from tesk.callbacks.subscribe import Subscribe, at_home, rules
from tesk.caller import Caller
from tesk.errors import BadRequest
from tesk.http.target import Forbidden, parse
from tesk.settings import CallbacksSettings

PUBLIC = rules(CallbacksSettings())


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://a.example/x", "must be http://host"),
        ("listener.example", "must be http://host"),
        ("http:///path", "must be http://host"),
        ("http://a.example:99999/", "is no URL"),
        ("http://ann:secret@a.example/", "no user and password"),
        ("http://a.example/#x", "fragment"),
        ("http://a.example/a b", "blanks"),
        ("http://a.example/\r\nX: y", "blanks"),
        ("http://ä.example/", "ASCII"),
        ("http://a.example/" + "x" * 2048, "2048"),
    ],
)
def test_a_url_that_cannot_be_called_is_refused_with_what_would_be_right(url, why):
    with pytest.raises(Forbidden, match=why):
        parse(url)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "localhost", "a.localhost", "[::1]", "[::]", "0.0.0.0",
     "10.0.0.1", "192.168.1.1", "169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "[::ffff:10.0.0.1]", "224.0.0.1",
     "[64:ff9b::a00:1]", "100.100.100.200"],
)  # fmt: skip
def test_private_hosts_are_refused_however_they_are_written(host):
    with pytest.raises(Forbidden, match="may not be called"):
        PUBLIC.check(f"http://{host}:8080/hook")


def test_a_port_that_is_not_named_is_refused():
    for port in (22, 25, 443 + 1, 1023):
        with pytest.raises(Forbidden, match=f"port {port}"):
            PUBLIC.check(f"http://a.example:{port}/")
    assert PUBLIC.check("https://a.example/x?y").origin == "https://a.example:443"
    assert PUBLIC.check("http://a.example:8080").path == "/"


def test_what_the_settings_name_may_be_called_though_it_is_private():
    allowed = rules(CallbacksSettings(allow=("10.0.0.0/8", "wes.lab")))
    assert allowed.check("http://10.1.2.3/").host == "10.1.2.3"
    assert allowed.allowed("wes.lab", ["192.168.0.1"]) == ["192.168.0.1"]
    assert allowed.allowed("other.lab", ["192.168.0.1", "10.0.0.1"]) == ["10.0.0.1"]
    with pytest.raises(Forbidden):
        allowed.allowed("other.lab", ["192.168.0.1"])
    with pytest.raises(Forbidden):
        allowed.check("http://127.0.0.1/")


def test_only_the_hosts_that_are_named_may_be_called_where_some_are():
    allowed = rules(CallbacksSettings(hosts=("*.example.org",)))
    assert allowed.check("https://a.example.org/").host == "a.example.org"
    with pytest.raises(Forbidden, match=r"callbacks\.hosts"):
        allowed.check("https://example.com/")


def test_a_name_that_has_a_private_address_when_it_is_called_is_refused():
    assert PUBLIC.check("http://rebound.example/").host == "rebound.example"
    with pytest.raises(Forbidden, match="private"):
        PUBLIC.allowed("rebound.example", ["127.0.0.1"])
    assert PUBLIC.allowed("rebound.example", ["127.0.0.1", "8.8.8.8"]) == ["8.8.8.8"]


def test_a_refusal_names_the_field():
    with pytest.raises(BadRequest) as refused:
        Subscribe(CallbacksSettings())("http://127.0.0.1/", Caller("ann"))
    assert refused.value.problems[0].path == "callback_url"
    with pytest.raises(BadRequest, match="callbacks are off"):
        Subscribe(CallbacksSettings(enabled=False))("https://a.example/", Caller("ann"))
    assert (
        Subscribe(at_home(CallbacksSettings()))("http://localhost:9000/", Caller("ann")).lane
        == "http://localhost:9000 ann"
    )
