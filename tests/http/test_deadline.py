"""Limits to how long something may take."""

import asyncio

import pytest

from tesk.http.deadline import Deadlines


def test_what_takes_too_long_is_stopped_and_the_rest_goes_on():
    async def main():
        deadlines = Deadlines()

        async def quick():
            with deadlines.within(30):
                await asyncio.sleep(0)
            return "done"

        async def slow():
            with deadlines.within(0.01):
                await asyncio.Event().wait()

        answers = await asyncio.gather(quick(), slow(), quick(), return_exceptions=True)
        assert [answers[0], type(answers[1]), answers[2]] == ["done", TimeoutError, "done"]
        with pytest.raises(TimeoutError):
            await slow()
        assert await quick() == "done"
        assert asyncio.current_task().cancelling() == 0

    asyncio.run(main())


def test_a_cancel_from_elsewhere_stays_a_cancel():
    async def main():
        deadlines = Deadlines()

        async def slow():
            with deadlines.within(30):
                await asyncio.Event().wait()

        task = asyncio.create_task(slow())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_an_error_of_the_block_itself_comes_out_as_it_is():
    async def main():
        with pytest.raises(ZeroDivisionError), Deadlines().within(30):
            raise ZeroDivisionError

    asyncio.run(main())
