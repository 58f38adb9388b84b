"""Who sends beside much else to do sends little at first, more the longer something waits, and all there is where nobody is in its way."""

import asyncio
import time

from tesk.callbacks.modesty import Modesty


def calls_of(modesty):
    calls = 0
    while calls < 10_000 and modesty.may_call():
        calls += 1
    return calls


def test_a_loop_that_others_keep_busy_lets_few_calls_through_and_more_where_something_waits_for_long():
    async def story():
        modesty = Modesty(time.monotonic)  # it computes all the time
        await modesty.pause(0.001, 0.0)
        await modesty.pause(0.001, 0.0)
        assert modesty.crowded
        await modesty.pause(0.001, 0.0)
        few = calls_of(modesty)
        await modesty.pause(0.001, 9.0)
        assert calls_of(modesty) == 10 * few > 0

    asyncio.run(story())


def test_once_others_have_ended_all_calls_are_let_through():
    busy = True
    began = time.monotonic()

    def computed():
        return time.monotonic() if busy else began

    async def story():
        nonlocal busy
        modesty = Modesty(computed)
        await modesty.pause(0.001, 0.0)
        await modesty.pause(0.001, 0.0)
        assert modesty.crowded
        busy = False
        await modesty.pause(0.001, 0.0)
        assert modesty.crowded  # a moment is no peace
        for _ in range(4):
            await modesty.pause(0.001, 0.0)
        assert not modesty.crowded
        assert calls_of(modesty) == 10_000

    asyncio.run(story())


def test_a_loop_that_only_sends_is_held_up_by_nobody():
    async def story():
        modesty = Modesty(lambda: time.monotonic() if modesty.may_call() else 0.0)
        for _ in range(3):
            await modesty.pause(0.001, 0.0)
            assert calls_of(modesty) == 10_000
        assert not modesty.crowded

    asyncio.run(story())
