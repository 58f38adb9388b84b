"""Who tries again when a namespace had no room."""

import asyncio

import pytest

from tesk.compute.backend import AttemptId
from tesk.compute.kubernetes.quotas import Quotas
from tesk.errors import BackendUnavailable

FIRST, SECOND, THIRD = (AttemptId(name, 1) for name in ("first", "second", "third"))


def run(story, again_seconds=60.0):
    """Tell a story of quotas and of who was told to try, in order."""

    async def whole():
        told = asyncio.Queue()
        quotas = Quotas(told.put_nowait, again_seconds=again_seconds)
        try:
            async with asyncio.timeout(10):
                await story(quotas, told)
        finally:
            quotas.close()

    asyncio.run(whole())


def refused(quotas, attempt):
    with pytest.raises(BackendUnavailable, match="It waits"):
        quotas.check("ns", attempt)


def test_a_namespace_that_has_no_room_is_asked_by_nobody_for_a_while_and_others_are():
    async def story(quotas, told):
        quotas.check("ns", FIRST)
        quotas.no_room("ns", FIRST, "It waits: exceeded quota")
        refused(quotas, SECOND)
        quotas.check("other", THIRD)
        assert len(quotas) == 2
        assert told.empty()

    run(story)


def test_what_ends_lets_the_one_try_that_has_waited_longest_and_it_the_next_one():
    async def story(quotas, told):
        quotas.no_room("ns", FIRST, "It waits: exceeded quota")
        refused(quotas, SECOND)
        refused(quotas, THIRD)
        quotas.room("ns")
        assert [told.get_nowait(), told.empty()] == [FIRST, True]
        quotas.check("ns", FIRST)
        quotas.room("ns", FIRST)
        assert [told.get_nowait(), told.empty()] == [SECOND, True]
        quotas.no_room("ns", SECOND, "It waits: exceeded quota")
        quotas.forget(THIRD)
        quotas.room("ns")
        assert [told.get_nowait(), len(quotas)] == [SECOND, 0]

    run(story)


def test_though_nothing_ends_one_after_the_other_tries_and_one_that_is_gone_holds_up_nobody():
    async def story(quotas, told):
        quotas.no_room("ns", FIRST, "It waits: exceeded quota")
        refused(quotas, SECOND)
        assert [await told.get(), await told.get()] == [FIRST, SECOND]
        quotas.check("ns", THIRD)

    run(story, again_seconds=0.01)
