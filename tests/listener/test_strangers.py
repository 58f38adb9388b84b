"""Other users of this machine at a listener without a token: they may tell what they can prove, and read what was given to them."""

import asyncio
import json
import os
import pwd
import shutil

import pytest

from fakes.open_listener import moved, open_listener
from tesk.listener import Remote

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]
OTHER = "nobody"


async def curl(url, *words, user=OTHER):
    """Return the status that a user's request is answered with."""
    entry = pwd.getpwnam(user)
    process = await asyncio.create_subprocess_exec(
        "curl", "-s", "--max-time", "20", "-w", "%{http_code}", "-o", os.devnull, *words, url,
        user=entry.pw_uid, group=entry.pw_gid, extra_groups=(), cwd="/", stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await process.communicate()
    return int(said)


def test_another_user_reads_nothing_but_by_the_token_of_a_subscription_and_tells_by_its_url():
    async def main():
        async with open_listener() as (listener, ask), Remote(listener.base) as remote:
            made = await remote.subscribe()
            end = ["-d", json.dumps(moved("t", "COMPLETE", 3))]
            assert await curl(made.callback_url, *end) == 204
            for path in ("/tasks/t", "/webhook/t", "/events", "/metrics", "/readyz"):
                assert await curl(listener.base + path) == 403
            assert await curl(f"{listener.base}/subscriptions", "-d", "{}") == 403
            assert await curl(f"{listener.base}/tasks/t", "-H", f"Authorization: Bearer {made.token}") == 200
            assert await curl(f"{listener.base}/tasks/t", user="root") == 200
            assert (await ask("GET", "/tasks/t"))[1]["state"] == "COMPLETE"

    asyncio.run(main())


def test_what_nobody_signed_is_believed_of_the_own_user_only():
    async def main():
        async with open_listener(plain=True) as (listener, ask):
            assert await curl(f"{listener.base}/webhook", "-d", json.dumps(moved("t", "COMPLETE", 3))) == 403
            assert (await ask("GET", "/tasks/t"))[1]["state"] == "UNKNOWN"
            assert (await ask("POST", "/webhook", moved("t", "RUNNING", 2)))[0] == 204

    asyncio.run(main())
