"""What is left of an attempt when its server is killed, or stopped for too long, and who may act on it then."""

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.attempts import BOUND_SECONDS, local, plan, shell, until
from faults.leftovers import processes
from tesk.compute.backend import AttemptId, Phase
from tesk.compute.machine.place import place_of
from tesk.errors import BackendUnavailable

ATTEMPT = AttemptId("lost", 1)


class OtherServer:
    """Another process with a backend over the same folder, which runs one attempt until it is told something."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.hear("ready")

    def hear(self, word: str) -> str:
        """Wait for a line that begins with a word; return the rest."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(word):
                return line.removeprefix(word).strip()
        raise AssertionError(f"it ended without saying {word!r}")

    def sandboxes(self) -> list[int]:
        """Descriptors of the processes that it wrote down."""
        owner = (self.folder / "local/attempts" / str(ATTEMPT) / "owner").read_bytes()
        return [os.pidfd_open(pid) for pid, _ in json.loads(owner)["processes"]]


@pytest.fixture
def other(tmp_path: Path) -> Iterator[OtherServer]:
    other = OtherServer(tmp_path)
    yield other
    other.process.kill()
    other.process.wait()
    other.process.stdout.close()


def wait_for_ends(pidfds: list[int]) -> None:
    poll = select.poll()
    for fd in pidfds:
        poll.register(fd, select.POLLIN)
    for _ in range(len(pidfds)):
        [(fd, _), *_] = poll.poll(BOUND_SECONDS * 1000)
        poll.unregister(fd)
        os.close(fd)


def test_a_killed_server_takes_its_programs_with_it(other: OtherServer) -> None:
    sandboxes = other.sandboxes()
    assert len(sandboxes) == 2
    other.process.kill()
    wait_for_ends(sandboxes)


def test_what_a_killed_server_left_is_emptied_and_known_as_ours(other: OtherServer, tmp_path: Path) -> None:
    other.process.kill()
    other.process.wait()

    async def story() -> None:
        async with local(tmp_path) as backend:
            assert [attempt async for attempt in backend.existing()] == [ATTEMPT]
            seen = await backend.observe(ATTEMPT)
            assert (seen.phase, seen.ours) == (Phase.PREEMPTED, True)
            assert seen.reason
            assert await backend.observe(ATTEMPT) == seen
            assert [attempt async for attempt in backend.existing()] == []
            await backend.start(ATTEMPT, plan(shell("true")))
            assert (await backend.observe(ATTEMPT)).phase is Phase.PREEMPTED
            await backend.forget(ATTEMPT)
            assert (await backend.observe(ATTEMPT)).phase is Phase.ABSENT

    asyncio.run(story())


def test_the_mark_of_a_takeover_goes_after_a_day_while_the_server_runs(other: OtherServer, tmp_path: Path) -> None:
    other.process.kill()
    other.process.wait()
    mark = tmp_path / "local/gone" / str(ATTEMPT)

    async def story() -> None:
        async with local(tmp_path) as backend:
            await backend.forget(ATTEMPT)
            assert [attempt async for attempt in backend.existing()] == []
            assert mark.exists()
            os.utime(mark, (0, mark.stat().st_mtime - 86_500))
            assert [attempt async for attempt in backend.existing()] == []
            assert not mark.exists()

    asyncio.run(story())


def test_a_stopped_server_loses_its_attempt_and_starts_nothing_more_of_it(other: OtherServer, tmp_path: Path) -> None:
    sandboxes = other.sandboxes()
    os.kill(other.process.pid, signal.SIGSTOP)

    async def story() -> None:
        async with local(tmp_path) as backend:
            seen = await backend.observe(ATTEMPT)
            assert (seen.phase, seen.ours) == (Phase.PREEMPTED, True)
            wait_for_ends(sandboxes)
            await backend.forget(ATTEMPT)

    asyncio.run(story())
    os.kill(other.process.pid, signal.SIGCONT)
    assert other.hear("ended") == Phase.PREEMPTED
    assert not (tmp_path / "local/attempts" / str(ATTEMPT)).exists()


def test_a_late_start_of_an_attempt_that_was_taken_over_runs_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with local(tmp_path) as taker:
            assert (await taker.observe(ATTEMPT)).phase is Phase.ABSENT
            await taker.forget(ATTEMPT)
        async with local(tmp_path) as late:
            await late.start(ATTEMPT, plan(shell("true")))
            seen = await until(late, ATTEMPT)
            assert seen.phase is Phase.PREEMPTED
            assert seen.executor_logs == ()
            await late.forget(ATTEMPT)

    asyncio.run(story())


def test_a_sandbox_that_still_stands_at_its_gate_is_found(other: OtherServer, tmp_path: Path) -> None:
    # As if the server had been killed just before it wrote down whom it started.
    path = tmp_path / "local/attempts" / str(ATTEMPT) / "owner"
    sandboxes = other.sandboxes()
    owner = json.loads(path.read_bytes())
    path.write_text(json.dumps({**owner, "processes": []}))
    os.kill(other.process.pid, signal.SIGSTOP)

    async def story() -> None:
        async with local(tmp_path) as backend:
            await backend.observe(ATTEMPT)
            wait_for_ends(sandboxes)

    asyncio.run(story())
    os.kill(other.process.pid, signal.SIGCONT)


def test_sandboxes_that_make_a_process_while_they_are_killed_leave_none(tmp_path: Path) -> None:
    stand_in = tmp_path / "bwrap"
    # Forks at any moment in a while, in whose midst it is taken over.
    stand_in.write_text("exec 3<&0; sleep 0.$1; (read -r _ <&3) & read -r _")
    folder = tmp_path / f"local/attempts/{ATTEMPT}"
    waits, kept = os.pipe()
    made = []

    def make() -> None:
        folder.mkdir()
        commands = (["sh", stand_in, f"{moment:03}", f"{folder}/own/0"] for moment in range(0, 400, 4))
        made.extend(subprocess.Popen(command, stdin=waits) for command in commands)

    async def story() -> None:
        async with local(tmp_path) as backend:
            await asyncio.to_thread(make)
            assert (await backend.observe(ATTEMPT)).phase is Phase.PREEMPTED

    asyncio.run(story())
    left = processes(str(folder))
    for end in (waits, kept):
        os.close(end)
    for each in made:
        each.wait()
    assert left == []


def test_what_a_server_had_not_killed_when_it_died_in_a_takeover_is_killed_by_the_next(tmp_path: Path) -> None:
    stand_in = tmp_path / "bwrap"
    stand_in.write_text("read -r _")
    work = tmp_path / "local"
    # It has taken the folder away, and gone.
    (work / f"trash/{ATTEMPT}.0123456789abcdef").mkdir(parents=True)
    waits, kept = os.pipe()
    command = ["sh", stand_in, f"{work}/attempts/{ATTEMPT}/own/0"]
    with (
        subprocess.Popen(command, stdin=waits) as left,
        subprocess.Popen([*command[:2], "other"], stdin=waits) as other,
    ):

        async def story() -> None:
            async with local(tmp_path):
                pass

        asyncio.run(story())
        assert left.wait(BOUND_SECONDS) == -signal.SIGKILL
        assert other.poll() is None
        for end in (waits, kept):
            os.close(end)
    assert not [*(work / "trash").iterdir()]


def test_a_server_that_lives_keeps_its_attempt(other: OtherServer, tmp_path: Path) -> None:
    async def story() -> None:
        async with local(tmp_path) as backend:
            with pytest.raises(BackendUnavailable):
                await backend.observe(ATTEMPT)
            with pytest.raises(BackendUnavailable):
                await backend.forget(ATTEMPT)
            os.kill(other.process.pid, signal.SIGTERM)
            other.process.wait()
            assert (await backend.observe(ATTEMPT)).phase is Phase.PREEMPTED

    asyncio.run(story())


def stop(pid: int) -> None:
    """Stop a child, and wait until it is."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


def change_server(work: Path, change: dict[str, int] | None) -> None:
    """Change what a server wrote down about itself; None: it wrote nothing."""
    server = work / "server"
    if change is None:
        server.unlink()
    else:
        server.write_text(json.dumps({**json.loads(server.read_bytes()), **change}))


def test_a_server_with_its_own_folder_is_left_alone_while_it_works_and_emptied_when_it_is_stopped(
    other: OtherServer, tmp_path: Path
) -> None:
    place = place_of(tmp_path / "local")
    sandboxes = other.sandboxes()

    async def story() -> None:
        async with local(tmp_path / "ours") as backend:
            assert backend.owns(place)
            assert not backend.abandoned(place)
            with pytest.raises(BackendUnavailable):
                await backend.forget(ATTEMPT, place)
            assert other.sandboxes()
            stop(other.process.pid)
            assert backend.abandoned(place)
            await backend.forget(ATTEMPT, place)
            await backend.forget(ATTEMPT, place)
            wait_for_ends(sandboxes)
            assert [attempt async for attempt in backend.existing()] == []

    asyncio.run(story())
    os.kill(other.process.pid, signal.SIGCONT)
    assert other.hear("ended") == Phase.PREEMPTED
    assert list((tmp_path / "local/attempts").iterdir()) == []


def test_what_was_not_started_yet_in_another_folder_cannot_be_started_late(tmp_path: Path) -> None:
    async def story() -> None:
        async with local(tmp_path / "ours") as backend, local(tmp_path / "theirs") as late:
            await backend.forget(ATTEMPT, late.place)
            await late.start(ATTEMPT, plan(shell("true")))
            seen = await until(late, ATTEMPT)
            assert (seen.phase, seen.executor_logs) == (Phase.PREEMPTED, ())

    asyncio.run(story())


def test_only_folders_of_this_machine_boot_and_user_that_are_where_they_were_are_acted_on(tmp_path: Path) -> None:
    async def story() -> None:
        async with local(tmp_path / "ours") as backend:
            async with local(tmp_path / "theirs") as other:
                machine, boot, folder, path = other.place.split(":", 3)
            owned = {
                "it": other.place,
                "our own before a reboot": backend.place.replace(boot, "another-boot"),
                "its machine": f"another-machine:{boot}:{folder}:{path}",
                "its boot": other.place.replace(boot, "another-boot"),
                "its folder": f"{machine}:{boot}:1-1:{path}",
                "its path": f"{machine}:{boot}:{folder}:{tmp_path}",
                "nothing": "",
            }
            # Without an id of the machine nothing says that another boot was one of it.
            expected = ["it", "our own before a reboot"] if machine else ["it"]
            assert [what for what, place in owned.items() if backend.owns(place)] == expected
            assert not any(backend.abandoned(place) for place in owned.values() if not backend.owns(place))
            if os.geteuid() == 0:
                os.chown(path, 12345, 12345)
                assert not backend.owns(other.place)
                os.chown(path, 0, 0)
            for wrong in ({"namespace": 1}, None):
                change_server(Path(path), wrong)
                assert not backend.owns(other.place)

    asyncio.run(story())


def test_a_process_that_only_has_the_same_number_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "1000"]) as innocent:

        async def story() -> None:
            async with local(tmp_path) as backend:
                folder = tmp_path / "local/attempts" / str(ATTEMPT)
                folder.mkdir()
                owner = {"server": [1, 1], "namespace": 1, "processes": [[innocent.pid, 1]]}
                (folder / "owner").write_text(json.dumps(owner))
                assert (await backend.observe(ATTEMPT)).phase is Phase.PREEMPTED

        asyncio.run(story())
        assert innocent.poll() is None
        innocent.kill()


async def serve(folder: Path) -> None:
    """Be the other server."""
    async with local(folder) as backend:
        await backend.start(ATTEMPT, plan(shell("echo x; sleep 1000", ignore_error=True), shell("sleep 1000")))
        async for _ in backend.logs(ATTEMPT, 0, stream="stdout", follow=True):
            break
        print("ready", flush=True)
        print("ended", (await until(backend, ATTEMPT)).phase, flush=True)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
