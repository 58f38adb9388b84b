"""What a server leaves behind, and the next one on the same folder goes on with."""

import asyncio
from pathlib import Path

from fakes.attempts import ShelfStager, codes, new_attempt, plan, shell, stdout, until, wait_for_words
from fakes.engine import Engine
from tesk.compute.backend import Phase
from tesk.tes.task import Input, Output

WAITS = "echo begun; while [ ! -e /data/go ]; do sleep 0.05; done; echo ended; echo err >&2"


def let_go(folder: Path, attempt) -> None:
    """Let the program go on that waits for a file in its volume."""
    (folder / f"containers/attempts/{attempt}/root/data/go").touch()


def test_a_container_that_runs_is_taken_over_with_all_that_it_wrote(backend, tmp_path) -> None:
    stager = ShelfStager()

    async def story() -> None:
        attempt = new_attempt()
        async with backend(stager) as before:
            outputs = (Output(path="/data/o", url="file:///o"),)
            steps = (shell("exit 3", ignore_error=True), shell(WAITS), shell("cat /data/kept >/data/o; echo last"))
            what = plan(*steps, inputs=(Input(path="/data/kept", content="kept"),), outputs=outputs)
            await before.start(attempt, what)
            await wait_for_words(before, attempt, b"begun", 1)
        async with backend(stager) as after:
            assert after.owns(before.place)
            assert after.abandoned(before.place)
            assert [each async for each in after.existing()] == [attempt]
            seen = await after.observe(attempt)
            assert (seen.phase, codes(seen)) == (Phase.RUNNING, [3])
            await after.start(attempt, what)
            let_go(tmp_path, attempt)
            seen = await until(after, attempt)
            assert codes(seen) == [3, 0, 0]
            assert (stdout(seen, 1), seen.executor_logs[1].stderr, stdout(seen, 2)) == (
                "begun\nended\n",
                "err\n",
                "last\n",
            )
            assert seen.executor_logs[1].start_time < seen.executor_logs[1].end_time
            await after.forget(attempt)

    asyncio.run(story())
    assert stager.shelf == {"/data/o": b"kept"}


def test_what_ended_while_nobody_was_there_is_read_afterwards(backend, engine: Engine, tmp_path) -> None:
    async def story() -> None:
        attempt = new_attempt()
        async with backend() as before:
            await before.start(attempt, plan(shell(WAITS + "; exit 7"), volumes=("/data",)))
            await wait_for_words(before, attempt, b"begun")
            [name] = await before._machine.engine.labeled(f"tesk.attempt={attempt}")
        let_go(tmp_path, attempt)
        engine.run("wait", name)
        async with backend() as after:
            await after.observe(attempt)
            seen = await until(after, attempt)
            assert (seen.phase, codes(seen)) == (Phase.EXECUTOR_FAILED, [7])
            assert seen.executor_logs[0].stdout == "begun\nended\n"
        async with backend() as third:
            assert await third.observe(attempt) == seen
            await third.forget(attempt)

    asyncio.run(story())


def test_what_was_taken_over_can_be_stopped(backend) -> None:
    async def story() -> None:
        attempt = new_attempt()
        async with backend() as before:
            await before.start(attempt, plan(shell("trap 'echo bye; exit 9' TERM; " + WAITS)))
            await wait_for_words(before, attempt, b"begun")
        async with backend() as after:
            await after.observe(attempt)
            await after.stop(attempt, 20)
            seen = await until(after, attempt)
            assert (seen.phase, codes(seen)) == (Phase.PREEMPTED, [9])
            assert seen.executor_logs[0].stdout == "begun\nbye\n"
            await after.forget(attempt)

    asyncio.run(story())


def test_inputs_that_were_half_there_are_brought_in_anew(backend) -> None:
    stager = ShelfStager()

    class HalfStager(ShelfStager):
        async def fetch(self, transfers, root, owner, told=None):
            await super().fetch(transfers, root, owner)
            self.busy.clear()
            self.held = asyncio.Event()
            await self._wait()

    async def story() -> None:
        attempt = new_attempt()
        half = HalfStager()
        what = plan(shell("cat /data/i"), inputs=(Input(path="/data/i", content="whole"),))
        async with backend(half) as before:
            await before.start(attempt, what)
            while half.held is None:  # noqa: ASYNC110  the first half is done in one step
                await asyncio.sleep(0)
        async with backend(stager) as after:
            await after.observe(attempt)
            assert stdout(await until(after, attempt)) == "whole"
            await after.forget(attempt)

    asyncio.run(story())


def test_a_container_that_was_made_and_never_begun_is_begun(backend, engine: Engine) -> None:
    async def story() -> None:
        attempt = new_attempt()
        async with backend() as before:
            await before.start(attempt, plan(shell("echo begun; sleep 1000")))
            await wait_for_words(before, attempt, b"begun")
            [name] = await before._machine.engine.labeled(f"tesk.attempt={attempt}")
        # As if the engine had been killed in between.
        engine.remove(name)
        engine.run("create", "--name", name, "localhost/debian", "true")
        async with backend() as after:
            await after.observe(attempt)
            await wait_for_words(after, attempt, b"begun")
            await after.forget(attempt)
            label = after._machine.label
        assert engine.run("ps", "--all", "--quiet", "--filter", f"label={label}") == ""

    asyncio.run(story())


def test_a_container_without_a_folder_is_found_and_removed(backend, engine: Engine) -> None:
    async def story() -> None:
        attempt = new_attempt()
        async with backend() as before:
            label = before._machine.label
        engine.run(
            *("run", "--detach", "--network", "none", "--label", label, "--label", f"tesk.attempt={attempt}"),
            *("localhost/debian", "sleep", "1000"),
        )
        engine.run("create", "--name", "somebody-elses", "localhost/debian", "true")
        async with backend() as after:
            assert [each async for each in after.existing()] == [attempt]
            await after.forget(attempt)
            assert [each async for each in after.existing()] == []
        assert engine.run("ps", "--all", "--quiet", "--filter", f"label={label}") == ""
        assert "somebody-elses" in engine.run("ps", "--all", "--format", "{{.Names}}").split()
        engine.run("rm", "somebody-elses")

    asyncio.run(story())
