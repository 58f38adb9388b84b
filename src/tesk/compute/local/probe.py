"""Try a sandbox before any task does, and say in one sentence what is wrong and which command helps."""

import asyncio
import os
import secrets
from pathlib import Path

from tesk.compute.backend import AttemptId, Phase
from tesk.compute.local.attempt import Attempt
from tesk.compute.local.launch import Machine
from tesk.compute.plan import make_plan
from tesk.tes.task import Executor, Extension, Task

_PATIENCE_SECONDS = 15.0

# By the path below the folder of switches: what refuses user namespaces, the value with which it does, and the command that ends it.
SWITCHES = (
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
    ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
    ("user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
)


async def try_sandbox(machine: Machine) -> str | None:
    """Run `true` as a task would be run; return what went wrong, None where nothing did."""
    plan = make_plan(
        Task(executors=(Executor(image="none", command=("true",)),)),
        task_id="probe",
        owner="",
        extension=Extension(),
        cpu_cores=1.0,
        ram_bytes=100_000_000,
        disk_bytes=0,
        tail_bytes=1000,
    )
    attempt = Attempt(AttemptId(f"probe{secrets.token_hex(8)}", 0), plan, machine, lambda: None)
    running = asyncio.create_task(attempt.run())
    try:
        await asyncio.wait_for(attempt.over.wait(), _PATIENCE_SECONDS)
    except TimeoutError:
        attempt.stop(0)
    await running
    seen = attempt.observation()
    attempt.release()
    await asyncio.to_thread(machine.folders.remove, attempt.id)
    if seen.phase is Phase.DONE:
        return None
    said = seen.executor_logs[0].stderr if seen.executor_logs else None
    return (seen.reason or said or "A first program in the sandbox did not end as it should.").strip()


def what_helps(wrong: str, switches: Path = Path("/proc/sys")) -> str:
    """Add to what went wrong with a sandbox the one command that helps, by the kernel's `switches`."""
    if "nknown option" in wrong:
        return f"{wrong} bubblewrap 0.8 or newer is needed."
    for path, value, setting in SWITCHES:
        if _read(switches / path) == value:
            return f"{wrong} This machine refuses user namespaces; try: sudo sysctl -w {setting}"
    if os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv"):
        return (
            f"{wrong} This container may not make sandboxes; start it with: "
            "--security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined"
        )
    return f"{wrong} To see more, try: bwrap --unshare-user --unshare-pid --ro-bind / / --proc /proc --dev /dev true"


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
