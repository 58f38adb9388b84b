"""A name that has another address each time somebody asks: tried with a real resolver, in a network where this machine has a public address.

What is connected to is what was checked, and a name is looked up once for each connection.
"""

import json
import sys

import uvloop

from fakes.listener import Cut, listening
from fakes.resolver import PUBLIC, Resolver, in_a_room
from fakes.sending import sending, settled, subscribe
from tesk.settings import CallbacksSettings

PORT = 8080

NAMES = {
    "turns.example": [[PUBLIC], ["127.0.0.1"]],
    "both.example": [["127.0.0.1", PUBLIC]],
    "back.example": [["127.0.0.1"], [PUBLIC]],
    "hidden.example": [["::ffff:127.0.0.1"]],
    "private.example": [["10.0.0.1", "169.254.169.254", "::1"]],
}
"""What is answered to the first question for a name, and to the next ones (the last for ever)."""


def test_a_name_that_leads_elsewhere_after_the_check_leads_to_nothing_private(tmp_path):
    done = in_a_room(tmp_path, __file__)
    said = json.loads(done.stdout or "{}")
    assert list(said) == list(NAMES), done.stderr
    refused = "may not be called: its address is private"
    # Told over the public address, then the name turned: what was to come next is not sent there.
    assert said["turns.example"] == {"public": 1, "private": 0, "error": True, "asked": 2}
    # Of two addresses the good one is called, whichever stands first.
    assert said["both.example"] == {"public": 2, "private": 0, "error": False, "asked": 2}
    # Refused first, and called once it is public.
    assert said["back.example"] == {"public": 1, "private": 0, "error": False, "asked": 2}
    for name in ("hidden.example", "private.example"):
        assert said[name] == {"public": 0, "private": 0, "error": True, "asked": 2}
    assert refused in done.stderr


def main() -> None:
    """Tell tasks at each name; their listeners say no once and end the line, so that the next try looks the name up again."""
    resolver = Resolver(NAMES)
    settings = CallbacksSettings(retry_seconds=0.01, retry_most_seconds=0.02, give_up_seconds=0.0)
    said = {}
    for name in NAMES:
        with (
            listening(lambda _: Cut(b"HTTP/1.1 204 Fine\r\n\r\n"), address=PUBLIC, port=PORT) as public,
            listening(address="127.0.0.1", port=PORT) as private,
        ):

            async def story(name: str = name):
                async with sending(f"{name}.db", settings) as store:
                    url = f"http://{name}:{PORT}/hook"
                    # Two tasks, one after the other.
                    errors = []
                    for _ in range(2):
                        (only,) = await settled(store, await subscribe(store, url, settings))
                        errors.append(only.error)
                    return errors

            errors = uvloop.run(story())
            print(*errors, sep="\n", file=sys.stderr)
            said[name] = {
                "public": public.heard.qsize(),
                "private": private.lines,
                "error": bool(errors[-1]),
                "asked": resolver.asked[name],
            }
    print(json.dumps(said))


if __name__ == "__main__":
    main()
