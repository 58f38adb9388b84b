"""A follower who is cut off anywhere goes on at the next byte, on every backend that runs here."""

import asyncio

from fakes.attempts import new_attempt, plan, shell, until
from tesk.api.position import Position

LINES = 40
SCRIPT = f"i=0; while [ $i -lt {LINES} ]; do echo line $i; echo bad $i >&2; i=$((i+1)); sleep 0.01; done"
OUT = b"".join(b"line %d\n" % number for number in range(LINES))
ERR = b"".join(b"bad %d\n" % number for number in range(LINES))


async def heard(place, attempt, stream, position, most):
    """Follow until `most` pieces were new, or to the end; return them by stream, and where the follower is then."""
    news = []
    position.at(attempt.number, 0)
    async for piece in place.logs(attempt, 0, stream=stream, follow=True):
        for fresh in position.fresh(piece):
            assert not fresh.missed_bytes
            assert not fresh.note
            news.append(fresh)
        if len(news) >= most:
            break
    return news, Position.read(str(position), stream)


def test_who_is_cut_off_while_an_executor_writes_goes_on_at_the_next_byte(backend) -> None:
    async def story() -> None:
        async with backend() as place:
            attempt = new_attempt()
            await place.start(attempt, plan(shell(SCRIPT)))
            for stream in ("combined", "stdout"):
                if stream == "stdout":
                    # Where a stream of its own is known at the end alone, whoever observes brings it.
                    observing = asyncio.create_task(until(place, attempt))
                position, wrote, most = Position(), {}, 1
                while True:
                    news, position = await heard(place, attempt, stream, position, most)
                    for fresh in news:
                        wrote[fresh.stream] = wrote.get(fresh.stream, b"") + fresh.data
                    if len(news) < most:
                        break
                    most += 1
                if "combined" in wrote:  # one log for both, as a pod has it
                    assert sorted(wrote["combined"].splitlines()) == sorted((OUT + ERR).splitlines())
                else:
                    assert wrote == {"stdout": OUT} | ({"stderr": ERR} if stream == "combined" else {})
            await observing
            await place.forget(attempt)

    asyncio.run(story())
