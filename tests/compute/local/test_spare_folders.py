"""Folders of an attempt that are used again: the next task must not be able to tell."""

import asyncio
import contextlib
import fcntl
import os
import struct
from pathlib import Path

import pytest

from fakes.attempts import finish, local, plan, shell, stdout
from tesk.compute.local.pristine import empty_nature

LOOK = 'stat -c "%a %u %g %h %s" /tmp /var/tmp "$HOME"; ls -A /tmp "$HOME"; test /tmp -nt /proc/1 || echo old'
NODUMP = 0x40


def spares(folder: Path) -> list[str]:
    return os.listdir(folder / "local/spare")


@pytest.mark.parametrize(
    "script",
    [
        "true",
        "echo secret > /tmp/secret",
        'mkdir -p "$HOME/.cache/deep"',
        'chmod 777 /tmp; chmod 0 "$HOME"',
        "touch -d 1999-01-01 /tmp",
        'cd /tmp; seq 3000 | xargs touch; seq 3000 | xargs rm; cd "$HOME"; ln -s /etc x; rm x',
    ],
)
def test_nothing_that_a_task_does_to_its_folders_is_seen_by_the_next(tmp_path, script) -> None:
    async def story() -> None:
        async with local(tmp_path) as backend:
            first = stdout(await finish(backend, plan(shell(LOOK))))
            await finish(backend, plan(shell(script)))
            for _ in range(2):
                assert stdout(await finish(backend, plan(shell(LOOK)))) == first

    asyncio.run(story())


def test_folders_are_used_again_where_nothing_was_left_in_them_and_end_with_the_server(tmp_path) -> None:
    async def story() -> None:
        left_by_a_dead_server = tmp_path / "local/spare/dead/root"
        left_by_a_dead_server.mkdir(parents=True)
        (left_by_a_dead_server / "file").touch()
        async with local(tmp_path) as backend:
            assert spares(tmp_path) == []
            look = plan(shell("stat -c %i /tmp"))
            first = stdout(await finish(backend, look))
            assert len(spares(tmp_path)) == 1
            assert stdout(await finish(backend, look)) == first
            assert len(spares(tmp_path)) == 1
            await finish(backend, plan(shell("touch /data/left"), volumes=("/data",)))
            assert spares(tmp_path) == []
            await finish(backend, plan(shell("true"), shell("true")))
            await finish(backend, look)
            assert len(spares(tmp_path)) == 1
        assert spares(tmp_path) == []

    asyncio.run(story())


def test_what_a_user_may_set_on_an_empty_folder_shows(tmp_path) -> None:
    folder = str(tmp_path)
    fresh = empty_nature(folder)
    assert empty_nature(folder) == fresh
    os.chmod(folder, 0o750)
    assert empty_nature(folder) != fresh
    os.chmod(folder, 0o700)
    assert empty_nature(folder) == fresh
    with contextlib.suppress(OSError):  # not every file system has them
        os.setxattr(folder, "user.note", b"x")
        assert empty_nature(folder) != fresh
        os.removexattr(folder, "user.note")
    fd = os.open(folder, os.O_RDONLY)
    with contextlib.suppress(OSError):
        flags = struct.unpack("l", fcntl.ioctl(fd, 0x80086601, bytes(8)))[0]
        fcntl.ioctl(fd, 0x40086602, struct.pack("l", flags | NODUMP))
        assert empty_nature(folder) != fresh
        fcntl.ioctl(fd, 0x40086602, struct.pack("l", flags))
    os.close(fd)
    assert empty_nature(folder) == fresh
    (tmp_path / "file").touch()
    assert empty_nature(folder) is None
