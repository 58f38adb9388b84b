"""System calls that executors do not get."""

import asyncio
import ctypes
import errno
import platform
from pathlib import Path

import pytest

from fakes.attempts import codes, finish, local, plan, stdout
from tesk.tes.task import Executor

NUMBERS = {"x86_64": (248, 249, 250, 0x40000000 + 250), "aarch64": (217, 218, 219)}


def test_executors_reach_no_keys_of_the_kernel_and_all_else(tmp_path: Path) -> None:
    numbers = NUMBERS.get(platform.machine())
    if numbers is None:
        pytest.skip(f"the numbers of the calls on {platform.machine()} are not known to this test")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(numbers[2], 0, -3, 0) < 0 and ctypes.get_errno() == errno.ENOSYS:
        pytest.skip("this kernel, or the container, has no keys")
    script = (
        "import ctypes\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        f"for number in {numbers}: print(libc.syscall(number, 0, -3, 0, 0, 0), ctypes.get_errno())\n"
    )

    async def story():
        async with local(tmp_path) as backend:
            return await finish(backend, plan(Executor(image="debian", command=("python3", "-c", script))))

    seen = asyncio.run(story())
    if codes(seen) == [127]:
        pytest.skip("the host's programs have no python3")
    assert stdout(seen).splitlines() == [f"-1 {errno.ENOSYS}"] * len(numbers)
