"""Have inputs that are named pipes served to an attempt's executors, while these run."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from tesk.transfer import Stager, Told, TransferList, TransferReport

T = TypeVar("T")


async def while_fed(
    stager: Stager,
    transfers: TransferList,
    root: Path,
    owner: tuple[int, int] | None,
    work: Awaitable[T],
    *,
    broken: Callable[[], None],
    told: Told,
) -> tuple[T, TransferReport]:
    """Return what comes of `work`, and what its programs read of the pipes. Canceled, it ends both at once.

    `broken` is called, perhaps more than once, when an input cannot go on: who reads it is to be killed, since none must
    take the part for the whole, and who opens it next would wait for ever. The report says then what broke. Raises
    OSError where the stager cannot be run.
    """
    over = asyncio.Event()
    early = False
    feeding = asyncio.ensure_future(
        stager.feed(transfers, root, owner, over=over.wait(), broken=lambda _: broken(), told=told)
    )

    def ended(_: object) -> None:
        nonlocal early
        if not over.is_set():
            early = True
            broken()

    feeding.add_done_callback(ended)
    try:
        done = await work
    except BaseException:
        over.set()
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
        raise
    over.set()
    report = await feeding
    if early and report.error is None:
        report = replace(
            report, error="the stager ended before the executors that it served named pipes to", retry=True
        )
    return done, report
