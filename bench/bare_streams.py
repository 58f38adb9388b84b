"""The least Starlette application that holds streams of events: whoever follows `/` is told of each POST, and of nothing else."""

import asyncio
import time
from collections.abc import AsyncGenerator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route


class _News:
    """The newest event, and how to wait for the next one."""

    def __init__(self) -> None:
        self.next = asyncio.Event()
        self.text = ""

    def tell(self, text: str) -> None:
        self.text = text
        told, self.next = self.next, asyncio.Event()
        told.set()


_news = _News()


async def _follow(_: Request) -> StreamingResponse:
    async def told() -> AsyncGenerator[str, None]:
        yield "retry: 1000\n\n"
        while True:
            await _news.next.wait()
            yield _news.text

    return StreamingResponse(told(), media_type="text/event-stream", headers={"cache-control": "no-store"})


async def _tell(_: Request) -> JSONResponse:
    _news.tell(f'id: 1\nevent: state\ndata: {{"id":"{"0" * 26}","state":"QUEUED","time":"{time.time()}"}}\n\n')
    return JSONResponse({"id": "0" * 26})


async def _ready(_: Request) -> JSONResponse:
    return JSONResponse({})


app = Starlette(routes=[Route("/", _ready), Route("/events", _follow), Route("/events", _tell, methods=["POST"])])
