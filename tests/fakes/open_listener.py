"""A listener inside the test's own program, and somebody who asks it over a real socket."""

import contextlib
import json
import time

import aiohttp

from tesk.listener import Listener
from tesk.settings import ListenerSettings

TOKEN = "a-token-that-nobody-guesses"


@contextlib.asynccontextmanager
async def open_listener(*, clock=time.time, server="", **settings):
    async with (
        Listener(server=server, settings=ListenerSettings(port=0, **settings), clock=clock) as listener,
        aiohttp.ClientSession() as session,
    ):

        async def ask(method, path, body=None, **headers):
            url = path if "://" in path else listener.base + path
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            async with session.request(method, url, data=data, headers=named) as answer:
                text = await answer.text()
                return answer.status, json.loads(text) if answer.content_type == "application/json" else text

        yield listener, ask


def moved(task, state, sequence=0):
    return {"id": task, "state": state} | ({"sequence": sequence} if sequence else {})
