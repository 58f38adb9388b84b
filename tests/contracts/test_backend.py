"""What every backend promises, tried on each."""

import asyncio
import time

import pytest

from fakes.attempts import (
    FaultyStager,
    ShelfStager,
    codes,
    finish,
    new_attempt,
    plan,
    shell,
    stdout,
    until,
    until_moving,
    wait_for_words,
)
from tesk.compute.backend import AttemptId, Phase, Piece
from tesk.tes.task import Executor, Input, Output


def test_an_attempt_runs_to_its_end_and_is_forgotten(backend) -> None:
    async def story() -> None:
        async with backend() as place:
            attempt = new_attempt()
            before = time.time()
            await place.start(attempt, plan(shell("echo out; echo err >&2")))
            seen = await until(place, attempt)
            assert seen.phase is Phase.DONE
            assert before - 1 <= seen.since <= time.time()
            [log] = seen.executor_logs
            assert (log.exit_code, log.stdout, log.stderr) == (0, "out\n", "err\n")
            assert log.start_time is not None
            assert log.end_time is not None
            assert log.start_time <= log.end_time
            assert log.end_time.endswith("Z")
            assert seen.metadata["executors.0.image"] == "debian"
            # What it is, or that it is not used.
            assert "executors.0.image_digest" in seen.metadata or any("debian" in note for note in seen.notes)
            assert [a async for a in place.existing()] == [attempt]
            await place.forget(attempt)
            await place.forget(attempt)
            assert [a async for a in place.existing()] == []
            assert (await place.observe(attempt)).phase is Phase.ABSENT

    asyncio.run(story())


def test_starting_twice_runs_once(backend) -> None:
    async def story() -> None:
        async with backend() as place:
            attempt = new_attempt()
            what = plan(shell("echo once >> /data/count; cat /data/count"), volumes=("/data",))
            await place.start(attempt, what)
            await place.start(attempt, what)
            await until(place, attempt)
            await place.start(attempt, what)
            assert stdout(await place.observe(attempt)) == "once\n"
            await place.forget(attempt)

    asyncio.run(story())


def test_what_was_never_started_is_absent(backend) -> None:
    async def story() -> None:
        async with backend() as place:
            unknown = AttemptId("never", 3)
            assert (await place.observe(unknown)).phase is Phase.ABSENT
            await place.stop(unknown, 0)
            await place.forget(unknown)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("command", "code", "why"),
    [
        (("true",), 0, None),
        (("sh", "-c", "exit 3"), 3, None),
        (("sh", "-c", "exit 1"), 1, None),
        (("sh", "-c", "no-such-program"), 127, None),
        (("no-such-program",), 127, "executors[0]: command not found: no-such-program ("),
        (("/no/such",), 127, "executors[0]: not found: /no/such, or the interpreter that it names ("),
        (("/etc/passwd",), 126, "executors[0]: /etc/passwd cannot be executed ("),
        (("sh", "-c", "kill -9 $$"), 137, None),
        (("sh", "-c", "kill -15 $$"), 143, None),
        (("sh", "-c", "kill -11 $$"), 139, None),
    ],
)
def test_exit_codes_are_the_programs_own_and_where_there_was_none_it_is_said(
    backend, command: tuple[str, ...], code: int, why: str | None
) -> None:
    async def story() -> None:
        async with backend() as place:
            seen = await finish(place, plan(Executor(image="debian", command=command)))
            assert codes(seen) == [code]
            assert seen.phase is (Phase.DONE if code == 0 else Phase.EXECUTOR_FAILED)
            said = [note for note in seen.notes if note.startswith("executors[")]
            assert len(said) == (why is not None)
            assert all(note.startswith(why or "") and "debian" in note for note in said)

    asyncio.run(story())


def test_the_first_failure_ends_the_task_and_its_outputs_are_taken_all_the_same(backend) -> None:
    stager = ShelfStager()

    async def story() -> None:
        async with backend(stager) as place:
            seen = await finish(
                place,
                plan(
                    shell("exit 5", ignore_error=True),
                    shell("echo partial > /data/out; exit 6"),
                    shell("echo never"),
                    outputs=(Output(path="/data/out", url="file:///x"), Output(path="/data/no", url="file:///y")),
                ),
            )
            assert seen.phase is Phase.EXECUTOR_FAILED
            assert codes(seen) == [5, 6]
            assert [log.path for log in seen.output_logs] == ["/data/out"]
            assert any("/data/no" in note for note in seen.notes)

    asyncio.run(story())
    assert stager.shelf == {"/data/out": b"partial\n"}


def test_an_output_that_is_missing_after_success_is_a_system_failure(backend) -> None:
    async def story() -> None:
        async with backend() as place:
            seen = await finish(place, plan(shell("true"), outputs=(Output(path="/data/no", url="file:///y"),)))
            assert seen.phase is Phase.SYSTEM_FAILED
            assert "/data/no" in (seen.reason or "")

    asyncio.run(story())


def test_a_command_is_an_argv_and_the_environment_is_the_tasks(backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_SERVER", "secret")

    async def story() -> None:
        async with backend() as place:
            words = ("printf", "%s|", "$HOME", "$(X)", "$$", "a b", "", "é")
            seen = await finish(
                place,
                plan(
                    Executor(image="debian", command=words),
                    shell("env", env={"A": "1 2", "PATH": "/usr/bin:/bin", "LD_PRELOAD": "", "EMPTY": ""}),
                ),
            )
            assert stdout(seen) == "$HOME|$(X)|$$|a b||é|"
            lines = stdout(seen, 1).splitlines()
            assert {"A=1 2", "PATH=/usr/bin:/bin", "EMPTY=", "LANG=C.UTF-8"} <= set(lines)
            assert "OF_THE_SERVER" not in stdout(seen, 1)

    asyncio.run(story())


def test_streams_are_files_where_the_task_says_so(backend) -> None:
    stager = ShelfStager()

    async def story() -> None:
        async with backend(stager) as place:
            seen = await finish(
                place,
                plan(
                    shell("cat; echo err >&2", stdin="/in/text", stdout="/new/folder/out", stderr="/stderr"),
                    shell("cat /in/text /new/folder/out /stderr"),
                    shell("echo a; echo b >&2; echo c", stdout="/both", stderr="/both"),
                    shell("echo lost", stdout="/dev/null"),
                    inputs=(Input(path="/in/text", content="hello\n"),),
                    outputs=(Output(path="/new/folder/out", url="file:///x"), Output(path="/both", url="file:///y")),
                ),
            )
            assert stdout(seen, 0) == "hello\n"
            assert seen.executor_logs[0].stderr == "err\n"
            assert stdout(seen, 1) == "hello\nhello\nerr\n"
            # One file for both is what the task asks for; its log may know the streams apart.
            assert stdout(seen, 2) in ("a\nb\nc\n", "a\nc\n")
            assert stdout(seen, 3) == "lost\n"

    asyncio.run(story())
    assert stager.shelf == {"/new/folder/out": b"hello\n", "/both": b"a\nb\nc\n"}


def test_stdin_is_empty_where_the_task_names_none(backend) -> None:
    async def story() -> None:
        async with backend() as place:
            assert stdout(await finish(place, plan(shell("wc -c")))).strip() == "0"

    asyncio.run(story())


def test_a_program_cannot_write_to_its_stdin(backend) -> None:
    async def story() -> None:
        async with backend() as place:
            script = "echo planted >&0 || echo refused; cat /in/text"
            seen = await finish(
                place,
                plan(shell(script, stdin="/in/text"), inputs=(Input(path="/in/text", content="hello\n"),)),
            )
            assert stdout(seen) == "refused\nhello\n"

    asyncio.run(story())


def test_a_missing_stdin_is_named(backend) -> None:
    async def story() -> None:
        async with backend() as place:
            seen = await finish(place, plan(shell("cat", stdin="/data/missing")))
            assert seen.phase is Phase.SYSTEM_FAILED
            assert "/data/missing" in (seen.reason or "")
            assert seen.final

    asyncio.run(story())


def test_a_long_stream_is_cut_to_its_end_on_a_character_and_says_so(backend) -> None:
    async def story() -> None:
        async with backend() as place:
            script = "i=0; while [ $i -lt 3000 ]; do printf 'ää€'; i=$((i+1)); done; printf '\\377x'"
            seen = await finish(place, plan(shell(script), shell(script, stdout="/data/file"), tail_bytes=100))
            for executor in (0, 1):
                tail = stdout(seen, executor)
                assert tail.endswith("ää€�x")
                assert "�" not in tail[:-2]
                assert 90 < len(tail.encode()) <= 103
                assert seen.metadata[f"executors.{executor}.stdout_size_bytes"] == str(3000 * 7 + 2)
                assert any(f"executors[{executor}]" in note and "stdout" in note for note in seen.notes)

    asyncio.run(story())


def test_executors_share_volumes_and_folders_but_nothing_else(backend) -> None:
    async def story() -> None:
        async with backend() as place:
            seen = await finish(
                place,
                plan(
                    shell(
                        "echo 1 > /vol/a; echo 2 > /in/b; echo 3 > /tmp/c; echo 4 > $HOME/d; echo 5 > e",
                        workdir="/data/x",
                    ),
                    shell("cat /vol/a /in/b e; ls /tmp $HOME | grep -v : | wc -w; pwd", workdir="/data/x"),
                    volumes=("/vol",),
                    inputs=(Input(path="/in/text", content=""),),
                ),
            )
            assert stdout(seen, 1) == "1\n2\n5\n0\n/data/x\n"

    asyncio.run(story())


def test_a_stop_gives_the_programs_inside_their_grace(backend) -> None:
    stager = ShelfStager()

    async def story() -> None:
        async with backend(stager) as place:
            attempt = new_attempt()
            script = "trap 'echo bye; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
            await place.start(attempt, plan(shell(script), outputs=(Output(path="/data/o", url="file:///o"),)))
            await wait_for_words(place, attempt, b"ready")
            await until(place, attempt, lambda seen: seen.phase is Phase.RUNNING)
            await place.stop(attempt, 20)
            seen = await until(place, attempt)
            assert seen.phase is Phase.PREEMPTED
            assert seen.ours
            assert seen.executor_logs[0].stdout == "ready\nbye\n"
            await place.stop(attempt, 0)
            assert (await place.observe(attempt)).phase is Phase.PREEMPTED
            await place.forget(attempt)

    asyncio.run(story())
    assert stager.shelf == {}


def test_who_ignores_the_stop_is_killed_after_the_grace(backend) -> None:
    async def story() -> None:
        async with backend() as place:
            attempt = new_attempt()
            await place.start(attempt, plan(shell("trap '' TERM; echo ready; while :; do sleep 0.05; done")))
            await wait_for_words(place, attempt, b"ready")
            await place.stop(attempt, 0.2)
            seen = await until(place, attempt)
            assert seen.phase is Phase.PREEMPTED
            # Who would have said it in a pod was killed as well.
            assert codes(seen) == [137] or seen.notes
            await place.forget(attempt)

    asyncio.run(story())


@pytest.mark.parametrize("phase", [Phase.STAGING, Phase.UPLOADING])
def test_a_stop_ends_an_attempt_while_data_moves(backend, phase: Phase) -> None:
    async def story() -> None:
        stager = ShelfStager()
        stager.held = asyncio.Event()
        async with backend(stager) as place:
            attempt = new_attempt()
            inputs = (Input(path="/data/i", content=""),) if phase is Phase.STAGING else ()
            outputs = (Output(path="/data/o", url="file:///o"),) if phase is Phase.UPLOADING else ()
            await place.start(attempt, plan(shell("touch /data/o"), inputs=inputs, outputs=outputs, volumes=("/data",)))
            await asyncio.wait_for(stager.busy.wait(), 100)
            await until(place, attempt, lambda seen: seen.phase is phase)
            await place.stop(attempt, 20)
            assert (await until(place, attempt)).phase is Phase.PREEMPTED
            await place.forget(attempt)
        assert stager.shelf == {}

    asyncio.run(story())


def test_how_far_the_data_is_is_known_while_it_moves(backend) -> None:
    async def story() -> None:
        stager = ShelfStager()
        stager.held = asyncio.Event()
        async with backend(stager) as place:
            attempt = new_attempt()
            assert await place.progress(attempt) is None
            inputs = (Input(path="/data/i", content="1"), Input(path="/data/j", content="2"))
            await place.start(attempt, plan(shell("cat /data/*"), inputs=inputs))
            async with asyncio.timeout(100):
                await stager.busy.wait()
            moving = await until_moving(place, attempt)
            assert (moving.direction, moving.files, moving.files_done) == ("inputs", 2, 0)
            stager.held.set()
            assert stdout(await until(place, attempt)) == "12"
            assert await place.progress(attempt) is None
            await place.forget(attempt)
            assert await place.progress(attempt) is None

    asyncio.run(story())


def test_a_fault_of_our_own_ends_the_attempt_and_is_heard_of_by_who_forgets_it(backend) -> None:
    async def story() -> None:
        async with backend(FaultyStager()) as place:
            attempt = new_attempt()
            await place.start(attempt, plan(shell("true"), inputs=(Input(path="/data/i", content=""),)))
            seen = await until(place, attempt)
            assert (seen.phase, seen.final) == (Phase.SYSTEM_FAILED, False)
            assert seen.reason == "A fault of the server's own came in between; its log says more."
            with pytest.raises(ZeroDivisionError):
                await place.forget(attempt)
            await place.forget(attempt)
            assert [a async for a in place.existing()] == []

    asyncio.run(story())


def test_forgetting_ends_what_runs(backend) -> None:
    async def story() -> None:
        async with backend() as place:
            attempt = new_attempt()
            await place.start(attempt, plan(shell("echo ready; sleep 1000")))
            await wait_for_words(place, attempt, b"ready")
            await place.forget(attempt)
            assert [a async for a in place.existing()] == []

    asyncio.run(story())


def test_logs_can_be_followed_to_the_end_and_read_afterwards(backend) -> None:
    async def story() -> None:
        async with backend() as place:
            attempt = new_attempt()
            await place.start(attempt, plan(shell("echo one; read x < /data/go; echo two"), volumes=("/data",)))
            await until(place, attempt)
            pieces = [p async for p in place.logs(attempt, 0, stream="stdout", follow=False)]
            assert b"".join(each.data for each in pieces) == b"one\ntwo\n"
            assert pieces[-1] == Piece("stdout", 8, b"")
            errors = [p async for p in place.logs(attempt, 0, stream="stderr", follow=True)]
            assert b"/data/go" in b"".join(each.data for each in errors)
            await place.forget(attempt)

    asyncio.run(story())
