"""Who sends beside much else to do sends little at first, more the longer something waits, and all there is where nobody is in its way."""

import asyncio
import math

import pytest

from tesk.callbacks.modesty import Modesty, crowds


@pytest.mark.parametrize(
    ("computed", "calls", "crowded"),
    [
        (0.1, 0, False),  # little to do
        (0.95, 0, True),  # requests alone
        (0.8, 2000, True),  # both
        (0.95, 6500, False),  # calls alone
        (0.3, 3000, False),
    ],
)
def test_it_is_crowded_where_this_process_computes_most_of_the_time_and_much_of_it_for_others(computed, calls, crowded):
    assert crowds(computed, 1.0, calls) is crowded


def calls_of(modesty):
    calls = 0
    while calls < 10_000 and modesty.may_call():
        calls += 1
    return calls


def test_a_loop_that_others_keep_busy_lets_few_calls_through_and_more_where_something_waits_for_long():
    async def story():
        modesty = Modesty(judge=lambda *_: True)
        assert not modesty.crowded
        for _ in range(6):
            await modesty.pause(0.0, 0.0)
        assert modesty.crowded
        few = calls_of(modesty)
        await modesty.pause(0.0, 9.0)
        assert calls_of(modesty) == 10 * few < math.inf

    asyncio.run(story())


def test_a_loop_with_little_to_do_lets_all_calls_through():
    async def story():
        modesty = Modesty(judge=lambda *_: False)
        await modesty.pause(0.0, 0.0)
        assert not modesty.crowded
        assert calls_of(modesty) == 10_000

    asyncio.run(story())
