"""How much an executor may take: processes, memory, disk, files; and what is said when it was too much."""

import asyncio
import errno
import itertools
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.attempts import (
    codes,
    finish,
    local,
    new_attempt,
    plan,
    run,
    shell,
    stdout,
    until,
)
from tesk.compute.backend import Phase
from tesk.tes.task import Executor

MEMORY_HELD = "Memory is limited"


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """Give a folder in memory, where the machine has one: a disk that others use takes a minute for what is tried here."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def test_a_hundred_thousand_files_and_folders_that_nobody_may_open_are_forgotten(quick_folder: Path) -> None:
    tmp_path = quick_folder
    script = (
        "import os\n"
        "for a in range(100):\n"
        "    os.mkdir(f'/data/{a}')\n"
        "    for b in range(1000):\n"
        "        os.close(os.open(f'/data/{a}/{b}', os.O_CREAT))\n"
        "    os.chmod(f'/data/{a}', 0)\n"
        "os.symlink('/', '/data/link')\n"
        "os.mkfifo('/data/fifo')\n"
        "os.chmod('/data', 0)\n"
    )

    async def story() -> None:
        async with local(tmp_path) as backend:
            attempt = new_attempt()
            await backend.start(
                attempt, plan(Executor(image="debian", command=("python3", "-c", script)), volumes=("/data",))
            )
            seen = await until(backend, attempt)
            if codes(seen) == [127]:
                pytest.skip("the host's programs have no python3")
            assert seen.phase is Phase.DONE, seen
            late = 0.0
            loop = asyncio.get_running_loop()

            async def beat() -> None:
                nonlocal late
                while True:
                    before = loop.time()
                    await asyncio.sleep(0.01)
                    late = max(late, loop.time() - before - 0.01)

            beating = asyncio.create_task(beat())
            await backend.forget(attempt)
            beating.cancel()
            assert late < 1, "forgetting held up the server's loop"
            assert not any((tmp_path / "local/attempts").iterdir())
            assert not any((tmp_path / "local/trash").iterdir())

    asyncio.run(story())


def test_a_program_that_forks_without_end_is_bounded(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "n = 0\n"
        "try:\n"
        "    while n < 3000:\n"
        "        if os.fork() == 0:\n"
        "            import signal; signal.pause()\n"
        "        n += 1\n"
        "except OSError: pass\n"
        "print(n)\n"
    )
    seen = run(
        tmp_path,
        Executor(image="debian", command=("python3", "-c", script)),
        settings={"processes_limit": 200},
    )
    if codes(seen) == [127]:
        pytest.skip("the host's programs have no python3")
    assert 0 < int(stdout(seen)) <= 200


def test_a_gigabyte_to_stdout_fills_neither_memory_nor_disk(tmp_path: Path) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    seen = run(tmp_path, shell("head -c 1000000000 /dev/zero; echo end"))
    assert stdout(seen).endswith("\0end\n")
    assert seen.metadata["executors.0.stdout_size_bytes"] == "1000000004"
    assert resident() - before < 50_000_000


def test_memory_beyond_the_limit_ends_the_executor_and_is_said(tmp_path: Path) -> None:
    script = "x = bytearray(400_000_000); print('here')"

    async def story():
        async with local(tmp_path) as backend:
            if not any(MEMORY_HELD in line for line in backend.says):
                pytest.skip(backend.says[1])
            return await finish(
                backend,
                plan(
                    Executor(image="debian", command=("python3", "-c", script), ignore_error=True),
                    shell("true"),
                    ram_bytes=100_000_000,
                    cpu_cores=2.5,
                ),
            )

    seen = asyncio.run(story())
    if codes(seen)[0] == 127:
        pytest.skip("the host's programs have no python3")
    assert codes(seen) == [137, 0]
    assert [note for note in seen.notes if "out of memory (limit 0.1 GB)" in note] == [
        "executors[0]: out of memory (limit 0.1 GB)."
    ]


def test_a_full_disk_ends_the_attempt(tmp_path: Path) -> None:
    seen = run(
        tmp_path,
        shell("head -c 30000000 /dev/zero > /data/big; sleep 1000"),
        volumes=("/data",),
        disk_bytes=10_000_000,
        settings={"disk_check_seconds": 0.1},
    )
    assert seen.phase is Phase.SYSTEM_FAILED
    assert seen.reason == "disk full (limit 0.01 GB)"


def test_the_root_of_the_sandbox_is_small(tmp_path: Path) -> None:
    fill = "head -c {0} /dev/zero > {1}; echo $?; "
    places = ("/big", "/home/big", "/etc/big", "/dev/big", "/dev/shm/small")
    script = "".join(fill.format(1000 if "small" in place else 20_000_000, place) for place in places)
    seen = run(tmp_path, shell(script), ram_bytes=10_000_000)
    assert [code == "0" for code in stdout(seen).split()] == [False] * 4 + [True]


@pytest.mark.parametrize("failing", range(1, 5))
def test_a_server_that_can_open_no_more_files_ends_the_attempt_and_loses_none(tmp_path, monkeypatch, failing):
    """The executor's two streams and its sandbox's gate and status are pipes: each of them may be one too many.

    The limit of open files is the whole process', so the system's call is replaced: else the test itself would fail.
    """
    whole, calls = os.pipe2, itertools.count(1)

    def pipe2(flags):
        if threading.current_thread().name == "keeper" and next(calls) == failing:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return whole(flags)

    async def story():
        async with local(tmp_path) as backend:
            assert stdout(await finish(backend, plan(shell("echo fine")))) == "fine\n"
            before = len(os.listdir("/proc/self/fd"))
            monkeypatch.setattr(os, "pipe2", pipe2)
            seen = await finish(backend, plan(shell("true")))
            assert (seen.phase, seen.final) == (Phase.SYSTEM_FAILED, False)
            assert "Too many open files" in seen.reason
            assert len(os.listdir("/proc/self/fd")) == before
            assert stdout(await finish(backend, plan(shell("echo fine")))) == "fine\n"

    asyncio.run(story())
