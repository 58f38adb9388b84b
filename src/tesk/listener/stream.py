"""What is heard, as server-sent events: the wire of `/tesk/v1/events`, so that clients of those follow this, too."""

import asyncio
import contextlib
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from tesk.errors import Unavailable
from tesk.http.exchange import Exchange
from tesk.listener.feed import Feed, Sought
from tesk.listener.ledger import Ledger, News
from tesk.listener.request import STREAM
from tesk.settings import ListenerSettings
from tesk.tes.told import Told

_BEGIN = b"retry: 1000\n\n"
_encode = msgspec.json.Encoder().encode


async def stream(
    request: Exchange, feed: Feed, ledger: Ledger, settings: ListenerSettings, sought: Sought, *, after: int | None
) -> None:
    """Stream until the client goes, takes nothing, or the listener ends; clients come again with what they had last.

    With ids and `after` of 0, what has ended is told of first; where moves behind `after` are not kept, a gap is. Raises
    Overloaded, Unavailable before anything was sent.
    """
    first = b""
    if after is None or (after == 0 and sought.ids):
        # In this order: an end that comes between is told of twice, not missed.
        start = await ledger.newest()
        first = b"" if after is None else _past(await ledger.ended(tuple(sought.ids), sought.subscription))
        after = start
    elif after and (gap := await _gap(ledger, after)):
        first, after = gap
    with feed.joined(sought) as follower:
        request.status = 200
        await request.send({"type": "http.response.start", "status": 200, "headers": STREAM})
        gone = asyncio.create_task(request.gone())
        gone.add_done_callback(lambda _: follower.leave())
        try:
            await _write(request, b"%b%bid: %d\n\n" % (_BEGIN, first, after), settings.slow_seconds)
            async with contextlib.aclosing(feed.follow(follower, after)) as pieces:
                async for piece in pieces:
                    await _write(request, _sent(piece), settings.slow_seconds)
            await _write(request, b"", settings.slow_seconds, more=False)
        except (TimeoutError, Unavailable):
            # It takes nothing, or there is nothing to give: it may come again with what it had last.
            request.cut()
        finally:
            gone.cancel()


async def _write(request: Exchange, data: bytes, seconds: float, *, more: bool = True) -> None:
    async with asyncio.timeout(seconds):
        await request.send({"type": "http.response.body", "body": data, "more_body": more})


async def _gap(ledger: Ledger, after: int) -> tuple[bytes, int] | None:
    """Return what tells of moves behind a position that are not kept, and where to go on; None where all are."""
    oldest, newest = await ledger.oldest(), await ledger.newest()
    if oldest - 1 <= after <= newest:
        return None
    return b'event: gap\ndata: {"after":%d,"oldest":%d}\n\n' % (after, oldest), min(max(after, oldest - 1), newest)


def _past(past: Iterable[Told]) -> bytes:
    return b"".join([b"event: state\ndata: %b\n\n" % _encode(told) for told in past])


def _sent(piece: list[News] | int) -> bytes:
    if isinstance(piece, int):
        return b"id: %d\n\n" % piece
    return _text(piece[0]) if len(piece) == 1 else b"".join(map(_text, piece))


@lru_cache(maxsize=1024)
def _text(news: News) -> bytes:
    """Many follow the same: it is written once."""
    return b"id: %d\nevent: state\ndata: %b\n\n" % (news.position, _encode(news.told))
