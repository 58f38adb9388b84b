"""The queue of what is worth a look."""

import asyncio

import uvloop

from tesk.controller.backoff import delay_seconds
from tesk.controller.workqueue import WorkQueue


def run(story):
    return asyncio.run(asyncio.wait_for(story(), 10))


def test_a_key_that_was_added_twice_comes_once():
    async def story():
        queue = WorkQueue[str]()
        for key in ("a", "b", "a"):
            queue.add(key)
        return [await queue.get(), await queue.get()], len(queue._ready)

    assert run(story) == (["a", "b"], 0)


def test_a_key_added_while_a_worker_has_it_comes_again_only_when_the_worker_is_done():
    async def story():
        queue = WorkQueue[str]()
        queue.add("a")
        key = await queue.get()
        queue.add("a")
        queue.add("b")
        assert await queue.get() == "b"
        waiter = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        assert not waiter.done()
        queue.done(key)
        return await waiter

    assert run(story) == "a"


def test_a_key_for_later_comes_after_the_shorter_while_and_once():
    async def story():
        queue = WorkQueue[str]()
        queue.add_later("a", 100)
        queue.add_later("a", 0.01)
        queue.add_later("a", 50)
        key = await queue.get()
        assert not queue._timers
        return key

    assert run(story) == "a"


def test_a_key_for_later_may_come_at_once_in_the_loop_of_a_server_too():
    async def story():
        queue = WorkQueue[str]()
        for seconds in (0, 0, 100, 0):
            queue.add_later("a", seconds)
        return await asyncio.wait_for(queue.get(), 10)

    assert uvloop.run(story()) == "a"


def test_a_key_that_is_added_now_does_not_come_later_too():
    async def story():
        queue = WorkQueue[str]()
        queue.add_later("a", 100)
        queue.add("a")
        await queue.get()
        return len(queue._timers)

    assert run(story) == 0


def test_a_worker_that_gave_up_does_not_lose_a_key():
    async def story():
        queue = WorkQueue[str]()
        gone = asyncio.create_task(queue.get())
        stays = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        gone.cancel()
        return await stays

    assert run(story) == "a"


def test_no_two_workers_have_the_same_key():
    async def story():
        queue = WorkQueue[int]()
        busy: set[int] = set()
        done = 0

        async def work():
            nonlocal done
            while True:
                key = await queue.get()
                assert key not in busy
                busy.add(key)
                await asyncio.sleep(0)
                busy.discard(key)
                queue.done(key)
                done += 1

        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(work()) for _ in range(5)]
            for number in range(300):
                queue.add(number % 7)
                if number % 3 == 0:
                    await asyncio.sleep(0)
            while len(queue):  # noqa: ASYNC110 - there is nothing to wait for but the workers' turns
                await asyncio.sleep(0)
            for worker in workers:
                worker.cancel()
        return done

    assert run(story) >= 7


def test_waits_double_up_to_a_bound():
    assert [delay_seconds(failures, 1, 300, 1.0) for failures in (0, 1, 2, 8, 9, 10_000)] == [1, 2, 4, 256, 300, 300]
    assert delay_seconds(3, 1, 300, 0.5) == 4
