"""Which TES servers a subscription may have asked: judged when it is made, and again at each connection; and what they may do."""

import asyncio
import json
import sys

import pytest

from fakes.listener import Cut, listening
from fakes.open_listener import TOKEN, open_listener
from fakes.resolver import PUBLIC, Resolver, in_a_room
from fakes.tes_server import FakeTes
from tesk.errors import BadRequest, SettingsError
from tesk.listener import Listener, Remote
from tesk.listener.servers import Servers
from tesk.settings import ListenerSettings

QUICK = {"quiet_seconds": 0.05, "quiet_most_seconds": 0.05}
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PORT = 8080
NAMES = {"turns.example": [[PUBLIC], ["127.0.0.1"]], "public.example": [[PUBLIC]]}


@pytest.mark.parametrize(
    ("server", "settings", "words"),
    [
        ("http://127.0.0.1:8000", {}, None),
        ("http://localhost:8000", {}, None),
        ("http://10.0.0.1:8000", {}, "private"),
        ("http://169.254.169.254/latest", {}, "metadata"),
        ("http://[::ffff:10.0.0.1]:8000", {}, "private"),
        ("http://0x0a000001:8000", {}, "private"),
        ("http://0.0.0.0:8000", {}, "no host"),
        ("http://93.184.215.14:22", {}, "port 22"),
        ("ftp://93.184.215.14", {}, "is no address"),
        ("http://93.184.215.14/\u00fc", {}, "%-notation"),
        ("http://93.184.215.14", {}, None),
        # With a token others come in: this machine's own servers are none of theirs.
        ("http://127.0.0.1:8000", {"token": TOKEN}, "private"),
        ("http://127.0.0.1:8000/ga4gh/tes/v1", {"token": TOKEN, "server": "http://127.0.0.1:8000"}, None),
        ("http://127.0.0.1:8001", {"token": TOKEN, "server": "http://127.0.0.1:8000"}, "private"),
        ("http://10.0.0.1:8000", {"servers": ("10.0.0.0/8",)}, None),
        ("http://127.0.0.1:8000", {"servers": ("10.0.0.0/8",)}, "does not name it"),
        ("http://93.184.215.14", {"servers": ("10.0.0.0/8",)}, "does not name it"),
        ("http://93.184.215.14", {"servers": ("*", "10.0.0.0/8")}, None),
        ("http://192.168.0.1", {"servers": ("*", "10.0.0.0/8")}, "private"),
    ],
)
def test_a_subscription_has_those_servers_asked_that_the_settings_let_it(server, settings, words):
    listener = Listener(settings=ListenerSettings(**settings))
    asked = listener._servers.check(server, "")
    if words is None:
        asyncio.run(asked)
        return
    with pytest.raises(BadRequest, match=words) as refused:
        asyncio.run(asked)
    assert [problem.path for problem in refused.value.problems] == ["server"]
    if words in ("private", "does not name it"):
        assert "listener.servers" in refused.value.detail


def test_a_server_that_must_not_be_asked_is_refused_with_what_would_let_it():
    async def main():
        async with open_listener() as (_, ask):
            status, said = await ask("POST", "/subscriptions", {"server": "http://10.0.0.1:8000"})
            assert (status, said["problems"][0]["path"]) == (400, "server")
            assert "10.0.0.1" in said["detail"]
            assert "listener.servers" in said["detail"]

    asyncio.run(main())


def test_names_that_no_resolver_takes_and_answers_without_end_harm_nobody_else():
    async def main(good, endless):
        async with open_listener(**QUICK) as (listener, ask), Remote(listener.base) as remote:
            for server in (f"http://{'a' * 64}.example", "http://a..b", endless.url):
                made = await remote.subscribe(server=server)
                assert (await ask("POST", "/tasks", {"tasks": ["task-1"]}, Authorization=f"Bearer {made.token}"))[
                    0
                ] == 204
            made = await remote.subscribe(server=good.url)
            async with Remote(listener.base, token=made.token) as mine:
                assert (await asyncio.wait_for(mine.ended("task-1"), 30)).state == "COMPLETE"
            while 'asks_total{answer="none"} 3' not in (await ask("GET", "/metrics"))[1]:
                pass

    huge = (
        200,
        {"Content-Type": "application/json"},
        b'{"id":"task-1","state":"COMPLETE","x":"' + b"x" * 4_000_000 + b'"}',
    )
    with FakeTes(states=["COMPLETE"]).serving() as good, FakeTes(script=[huge]).serving() as endless:
        good.add({"executors": [{"command": ["a"]}]})
        asyncio.run(main(good, endless))


def test_a_server_that_does_not_answer_is_left_alone_once_for_all_that_asked_it_and_a_slow_one_by_how_slow_it_is():
    servers = Servers((), (), at_home=True)
    for _ in range(8):
        servers.note("http://down", 1.0, answered=False)
    servers.note("http://slow", 3.0, answered=True)
    servers.note("http://quick", 0.1, answered=True)
    assert 59 < servers.left_alone_seconds("http://down") <= 60
    assert 26 < servers.left_alone_seconds("http://slow") <= 27
    assert servers.left_alone_seconds("http://quick") == 0
    servers.note("http://down", 0.1, answered=True)
    assert servers.left_alone_seconds("http://down") == 0


def test_a_server_in_the_settings_that_is_none_is_said_at_the_start():
    with pytest.raises(SettingsError, match=r"listener\.server"):
        Listener(settings=ListenerSettings(server="ftp://tes.example.org"))


def test_a_name_that_leads_elsewhere_after_the_check_leads_to_nothing_private(tmp_path):
    done = in_a_room(tmp_path, __file__)
    said = json.loads(done.stdout or "{}")
    assert said == {"turns.example": [0, 0], "public.example": [1, 0]}, done.stderr


async def asked(name, public, private):
    """Make a subscription, wait until its server was to be asked; return how often it was at its public and its private address."""
    async with open_listener(token=TOKEN, **QUICK) as (_, ask):
        status, made = await ask("POST", "/subscriptions", {"server": f"http://{name}:{PORT}"}, **BEARER)
        assert status == 201, made
        await ask("POST", "/tasks", {"tasks": ["t"]}, Authorization=f"Bearer {made['token']}")
        while 'asks_total{answer="none"} 1' not in (await ask("GET", "/metrics", **BEARER))[1]:
            pass
        return [min(1, public.lines), private.lines]


def main() -> None:
    """Run in a network of its own."""
    Resolver(NAMES)
    said = {}
    for name in NAMES:
        with (
            listening(lambda _: Cut(b"HTTP/1.1 500 No\r\n\r\n"), address=PUBLIC, port=PORT) as public,
            listening(address="127.0.0.1", port=PORT) as private,
        ):
            said[name] = asyncio.run(asked(name, public, private))
    print(json.dumps(said), file=sys.stdout)


if __name__ == "__main__":
    main()
