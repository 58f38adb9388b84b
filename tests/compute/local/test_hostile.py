"""What an executor may try against this machine, from inside its sandbox."""

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fakes.attempts import (
    ShelfStager,
    codes,
    finish,
    local,
    new_attempt,
    plan,
    run,
    shell,
    stdout,
    until,
    wait_for_words,
)
from tesk.compute.backend import Phase
from tesk.compute.machine.processes import is_running
from tesk.tes.task import Executor, Output


@pytest.mark.parametrize(
    "attack",
    [
        "mount -o remount,rw,bind /usr",
        "mount -o remount,rw,bind /etc/passwd",
        "mount -t tmpfs none /usr",
        "mount -t proc proc /tmp",
        "umount -l /usr",
        "touch /usr/planted",
        "echo planted >> /etc/passwd",
        "rm -f /usr/bin/env",
        "cat /etc/shadow",
        "ls /root/.",
        "ls {folder}",
        "unshare -U true",
        "unshare -m true",
        "nsenter -t 1 -m true",
        "chroot / true",
        "mknod /tmp/disk b 8 0",
        "mknod /tmp/mem c 1 1",
        "dmesg",
        "echo b > /proc/sysrq-trigger",
        "echo 1 > /proc/sys/kernel/core_pattern",
        "hostname other",
        "setpriv --reuid 0 true",
        "setpriv --regid 0 --clear-groups true",
        "test -e /sys/kernel",
        "test -w /dev/kmsg",
        "su root -c true",
    ],
)
def test_an_executor_gets_nowhere_with(tmp_path: Path, attack: str) -> None:
    seen = run(tmp_path, shell(f"({attack.replace('{folder}', str(tmp_path))}) </dev/null"))
    assert codes(seen) != [0], seen
    assert "not found" not in (seen.executor_logs[0].stderr or ""), "the attack itself needs a program"


def test_an_executor_has_no_capability_no_group_and_no_way_to_new_privileges(tmp_path: Path) -> None:
    seen = run(tmp_path, shell("grep -E '^(Cap|NoNewPrivs|Groups|Uid)' /proc/self/status; id -G"))
    lines = dict(line.split(":", 1) for line in stdout(seen).splitlines() if ":" in line)
    assert {int(lines[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert lines["NoNewPrivs"].strip() == "1"
    assert "0" not in lines["Uid"].split()
    assert set(lines["Groups"].split()) <= {"65534"}
    assert stdout(seen).splitlines()[-1].split()[0] != "0"


def test_an_executor_sees_none_of_the_hosts_processes_and_cannot_hit_them(tmp_path: Path) -> None:
    victim = subprocess.Popen(["sleep", "1000"])
    try:
        script = f"kill -9 {victim.pid} {os.getpid()} -1; ls -d /proc/[0-9]* | wc -l; cat /proc/{os.getpid()}/environ"
        seen = run(tmp_path, shell(f"trap '' TERM; ls -d /proc/[0-9]* | wc -l; {script.replace(' -1', '')}; true"))
        assert int(stdout(seen).splitlines()[0]) <= 5
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


def test_an_executor_can_be_traced_by_nobody_and_traces_nobody_outside(tmp_path: Path) -> None:
    script = (
        "import ctypes, sys; libc = ctypes.CDLL(None, use_errno=True)\n"
        "sys.exit(0 if any(libc.ptrace(16, pid, 0, 0) == 0 for pid in ("
        + f"{os.getpid()}, {os.getppid()}"
        + ")) else 9)"
    )
    seen = run(tmp_path, Executor(image="debian", command=("python3", "-c", script)))
    if codes(seen) == [127]:
        pytest.skip("the host's programs have no python3")
    assert codes(seen) == [9]


def test_tasks_do_not_see_each_other(tmp_path: Path) -> None:
    async def story() -> None:
        async with local(tmp_path) as backend:
            other = new_attempt()
            await backend.start(
                other, plan(shell("echo secret > /data/mine; echo ready; sleep 1000"), volumes=("/data",))
            )
            await wait_for_words(backend, other, b"ready")
            folder = tmp_path / "local/attempts" / str(other)
            seen = await finish(
                backend,
                plan(
                    shell(
                        f"cat {folder}/root/data/mine /data/mine; ls -a /data /tmp {folder.parent}; ls /proc | grep -c '^[0-9]'"
                    ),
                    volumes=("/data",),
                ),
            )
            assert "secret" not in (seen.executor_logs[0].stdout or "")
            assert str(other) not in (seen.executor_logs[0].stdout or "")
            await backend.forget(other)

    asyncio.run(story())


def test_without_network_nothing_answers_not_even_the_host(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("\0tesk-test")
        abstract.listen()
        port = server.getsockname()[1]
        script = (
            "import socket, sys\n"
            f"for family, address in ((2, ('127.0.0.1', {port})), (2, ('169.254.169.254', 80)), (1, '\\0tesk-test')):\n"
            "    with socket.socket(family) as s:\n"
            "        s.settimeout(3)\n"
            "        try: s.connect(address)\n"
            "        except OSError: continue\n"
            "        sys.exit(1)\n"
            "sys.exit(9)\n"
        )
        seen = run(tmp_path, Executor(image="debian", command=("python3", "-c", script)))
        if codes(seen) == [127]:
            pytest.skip("the host's programs have no python3")
        assert codes(seen) == [9], seen


def test_links_planted_where_the_server_writes_lead_nowhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o777)
    outside.chmod(0o777)
    (outside / "file").write_text("untouched")
    (outside / "file").chmod(0o666)
    up = "../" * 40
    plant = (
        f"ln -s {outside}/file /data/out; ln -s {up}{outside}/file /data/err; ln -s {outside} /data/dir; "
        f"ln -s {outside}/new /data/work; rm -rf /data/gone; ln -s {outside} /data/gone"
    )
    stager = ShelfStager()
    seen = run(
        tmp_path,
        shell(plant),
        shell("echo written; echo written >&2", stdout="/data/out", stderr="/data/err"),
        shell("echo written", stdout="/data/dir/new"),
        shell("echo written > here", workdir="/data/gone/deep"),
        volumes=("/data",),
        outputs=(Output(path="/data/dir/file", url="file:///o"),),
        stager=stager,
    )
    assert [entry.name for entry in outside.iterdir()] == ["file"], seen
    assert (outside / "file").read_text() == "untouched"
    assert stager.shelf == {}


@pytest.mark.parametrize("kind", ["mkfifo /data/x", "mkdir /data/x", "ln -s x /data/x"])
def test_what_is_no_file_cannot_stand_in_for_a_stream(tmp_path: Path, kind: str) -> None:
    for stream in ("stdin", "stdout"):
        seen = run(tmp_path, shell(kind), shell("true", **{stream: "/data/x"}), volumes=("/data",))
        assert seen.phase is Phase.SYSTEM_FAILED
        assert "/data/x" in (seen.reason or "")


def test_an_executor_that_replaces_its_folders_harms_itself_only(tmp_path: Path) -> None:
    stager = ShelfStager()
    seen = run(
        tmp_path,
        shell("rm -rf /data/in /data/out; ln -s /etc /data/out; rm -rf /data/* /tmp/* $HOME; true"),
        shell("ls /data; echo fine > /data/result"),
        volumes=("/data",),
        outputs=(Output(path="/data/result", url="file:///o"),),
        stager=stager,
    )
    assert seen.phase is Phase.DONE, seen
    assert stager.shelf == {"/data/result": b"fine\n"}


def test_a_daemon_is_gone_before_outputs_are_read(tmp_path: Path) -> None:
    stager = ShelfStager()
    seen = run(
        tmp_path,
        shell("(setsid sh -c 'trap \"\" TERM HUP; while :; do echo x >> /data/o; done' &) ; sleep 0.1"),
        shell("wc -c < /data/o; sleep 0.1; wc -c < /data/o"),
        volumes=("/data",),
        outputs=(Output(path="/data/o", url="file:///o"),),
        stager=stager,
    )
    before, after = stdout(seen, 1).split()
    assert before == after == str(len(stager.shelf["/data/o"]))


def command_lines() -> list[bytes]:
    return [line for process in Path("/proc").glob("[0-9]*") if (line := words_of(process))]


def words_of(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_secrets_in_the_environment_are_on_no_command_line(tmp_path: Path) -> None:
    async def story() -> None:
        async with local(tmp_path) as backend:
            attempt = new_attempt()
            await backend.start(attempt, plan(shell("echo $SECRET; sleep 1000", env={"SECRET": "hush-1234"})))
            await wait_for_words(backend, attempt, b"hush-1234")
            lines = await asyncio.to_thread(command_lines)
            assert any(b"$SECRET" in line for line in lines)
            assert not any(b"hush-1234" in line for line in lines)
            await backend.forget(attempt)

    asyncio.run(story())


def test_signals_and_descriptors_are_as_a_program_expects(tmp_path: Path) -> None:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    read, write = os.pipe()
    os.set_inheritable(write, True)
    old = (
        signal.signal(signal.SIGHUP, signal.SIG_IGN) if threading.current_thread() is threading.main_thread() else None
    )
    try:
        seen = run(tmp_path, shell("grep -E 'SigIgn|SigBlk' /proc/self/status; ls /proc/self/fd; umask; ulimit -n"))
    finally:
        signal.signal(signal.SIGHUP, old)
        os.close(read)
        os.close(write)
    lines = stdout(seen).splitlines()
    for line in lines[:2]:
        # Those above 31 are the C library's own.
        assert int(line.split()[1], 16) & 0x7FFFFFFF == 0, line
    assert int(lines.pop()) == limit, "the server's own is higher"
    assert lines[2:-1] == ["0", "1", "2", "3"], "3 is the folder that ls reads"
    assert lines[-1] == "0022"
    assert sys.platform == "linux"


def test_an_executor_whose_bubblewrap_is_killed_leaves_nothing_and_ends(tmp_path: Path) -> None:
    async def story() -> None:
        async with local(tmp_path) as backend:
            attempt = new_attempt()
            await backend.start(attempt, plan(shell("echo ready; sleep 1000")))
            await wait_for_words(backend, attempt, b"ready")
            owner = backend._machine.folders.owner(attempt)
            assert owner is not None
            outer, first = owner.processes
            os.kill(outer.pid, signal.SIGKILL)
            seen = await until(backend, attempt)
            assert seen.phase is Phase.EXECUTOR_FAILED
            assert codes(seen) == [137]
            assert not is_running(first)
            await backend.forget(attempt)

    asyncio.run(story())
