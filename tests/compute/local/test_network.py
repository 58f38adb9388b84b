"""What executors reach with a network of their own, and with this machine's."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fakes.attempts import finish, local, plan, shell, stdout
from tesk.compute.local import network
from tesk.compute.machine.routes import refused_routes
from tesk.errors import StartError
from tesk.tes.task import Executor

# pasta needs /dev/net/tun. Where only root may open it, the test makes one of its own, seen by nobody else.
TUN = (
    "set -e; d=$(mktemp -d); mount -t tmpfs none $d; mknod -m 666 $d/tun c 10 200; mount --bind $d/tun /dev/net/tun; "
    'exec "$@"'
)


def test_a_network_of_its_own_leaves_this_machine_out_of_reach(tmp_path: Path) -> None:
    if (missing := network.missing_for_nat()) is not None:
        pytest.skip(missing)
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("this machine has no /dev/net/tun")
    command = [sys.executable, __file__, str(tmp_path)]
    if os.geteuid() == 0:
        command = ["unshare", "-m", "sh", "-c", TUN, "sh", *command]
    elif not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("only root may open /dev/net/tun here")
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def try_nat(folder: Path) -> None:
    """Everything that is promised of `nat`, in one attempt or two."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        own = [address for address in refused_routes()[0].split() if address[0].isdigit() and "/" not in address]
        targets = [*own, "169.254.169.254", "127.0.0.1"]
        script = (
            "import socket, os\n"
            f"for address in {targets!r}:\n"
            "    with socket.socket() as s:\n"
            "        s.settimeout(3)\n"
            f"        print(address, s.connect_ex((address, {port})) == 0)\n"
            "print(sorted(os.listdir('/proc/self/fd')))\n"
            "print(len(open('/proc/net/route').readlines()) > 1)\n"
        )
        async with local(folder, network="nat") as backend:
            assert "pasta" in backend.says[0]
            seen = await finish(
                backend, plan(Executor(image="debian", command=("/usr/bin/env", "python3", "-c", script)))
            )
            lines = stdout(seen).splitlines()
            assert lines[: len(targets)] == [f"{address} False" for address in targets], lines
            assert lines[-2:] == ["['0', '1', '2', '3']", "True"]
            failing = await finish(backend, plan(shell("cat /etc/resolv.conf; exit 7", env={"A": "b"})))
            assert failing.executor_logs[0].exit_code == 7
            assert failing.executor_logs[0].stdout == f"nameserver {network.RESOLVER}\n"
            missing = await finish(backend, plan(Executor(image="debian", command=("no-such-program",))))
            assert missing.executor_logs[0].exit_code == 127


def test_the_machines_own_network_is_given_by_name_only_and_loudly(tmp_path: Path) -> None:
    async def story() -> None:
        async with local(tmp_path, network="host") as backend:
            assert "this server" in backend.says[0]
            seen = await finish(backend, plan(shell("cat /proc/net/dev | wc -l")))
            assert any("loopback" in note for note in seen.notes)

    asyncio.run(story())


def test_nat_that_does_not_work_is_never_replaced_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with local(tmp_path, network="auto") as backend:
            assert "no network" in backend.says[0]
            assert "nat does not work" in backend.says[0]
        with pytest.raises(StartError, match="nat"):
            async with local(tmp_path, network="nat"):
                pass

    # Where the executors' user may come as well.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        pasta = Path(folder, "pasta")
        pasta.write_text("#!/bin/sh\necho 'pasta: no device' >&2; exit 1\n")
        pasta.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        asyncio.run(story())


def test_a_try_of_nat_leaves_no_process(tmp_path: Path) -> None:
    async def story() -> None:
        async with local(tmp_path, network="auto"):
            pass

    asyncio.run(story())
    left = [line for process in Path("/proc").glob("[0-9]*") if str(tmp_path).encode() in (line := words_of(process))]
    assert not left


def words_of(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


if __name__ == "__main__":
    asyncio.run(try_nat(Path(sys.argv[1])))
