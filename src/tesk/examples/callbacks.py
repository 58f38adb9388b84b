"""Run 1,000 tasks and print each end as it comes. While it waits, it asks nothing: TES server and listener tell it.

Start both first: `tesk serve`, `tesk listener`. Then: `python callbacks.py [TASKS [TES-SERVER [LISTENER]]]`.
"""

import asyncio
import os
import sys

from tesk.client import AsyncClient
from tesk.errors import TeskError
from tesk.listener import Remote

TASK = {"executors": [{"image": "debian", "command": ["true"]}]}


async def main(
    count: str = "1000", server: str = "http://127.0.0.1:8000", there: str = "http://127.0.0.1:8010"
) -> None:
    """Submit, and wait."""
    token = os.environ.get("TESK_TOKEN", "")
    async with AsyncClient(server, token=token or None) as tes, Remote(there) as listener:
        subscription = await listener.subscribe(server=server, server_token=token)
        task = TASK | {"callback_url": subscription.callback_url}
        ids = [await tes.create(task) for _ in range(int(count))]
        async for told in listener.ends(ids):
            print(told.id, told.state, flush=True)
        await listener.unsubscribe(subscription.id)


try:
    asyncio.run(main(*sys.argv[1:]))
except TeskError as error:
    sys.exit(f"callbacks.py: {error}")
