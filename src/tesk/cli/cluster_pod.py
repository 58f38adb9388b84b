"""One task in a cluster, run for `tesk doctor --try` and taken away: whether images come, what it reaches."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Iterator

from msgspec.structs import replace

from tesk.caller import LOCAL
from tesk.cli.finding import FAIL, OK, WARN, Finding, with_help
from tesk.compute.backend import AttemptId, Observation, Phase
from tesk.compute.kubernetes.backend import KubernetesBackend
from tesk.compute.kubernetes.built import build
from tesk.compute.kubernetes.settled import doctors_id
from tesk.compute.plan import Plan, make_plan
from tesk.errors import BackendUnavailable, CannotRun, StartError
from tesk.settings import KubernetesSettings, Settings
from tesk.tes.task import Executor, Extension, Task

DOCTOR = "tesk doctor --kubernetes"
_TRIAL_SECONDS = 300.0
"""A node may have to be made, and images to come."""
_IMAGE_SECONDS = 60.0
_FORBIDDEN_PLACES = (("kubernetes.default.svc", 443), ("169.254.169.254", 80))
_PROBE_TRIES = 6
"""Each a second after the one before: a network may keep a policy only some moments after a pod has begun."""
_PROBE = f"""
import socket, time
for place in {_FORBIDDEN_PLACES!r}:
    for _ in range({_PROBE_TRIES}):
        try:
            socket.create_connection(place, 2).close()
        except OSError:
            break
        time.sleep(1)
    else:
        print(place[0])
"""


async def run_pod(settings: Settings) -> AsyncIterator[Finding]:
    """Run a task of two executors: one in the usual image, and one that tries what pods of tasks should not reach."""
    cluster = replace(
        settings.kubernetes,
        server_id=doctors_id(settings.kubernetes.server_id),
        image_wait_seconds=min(settings.kubernetes.image_wait_seconds, _IMAGE_SECONDS),
        keep_seconds=0.0,
    )
    executors = (
        Executor(image=settings.defaults.image, command=("true",)),
        Executor(image=cluster.stager_image, command=("python", "-c", _PROBE)),
    )
    backend = build(replace(settings, kubernetes=cluster), _as_it_is).backend
    attempt = AttemptId(f"tesk-doctor-{uuid.uuid4().hex[:8]}", 1)
    try:
        await backend.open()
        async for left in backend.existing():  # by a doctor that was cut off
            await backend.forget(left)
    except StartError as error:
        yield with_help(FAIL, "pod", str(error))
        return
    except BackendUnavailable as error:
        await backend.close()
        yield Finding(FAIL, "pod", str(error))
        return
    began = time.monotonic()
    try:
        await backend.start(attempt, plan_of(attempt, executors, 0.1, 100_000_000, 0))
        async for seen in _followed(backend):
            if seen.phase.ended:
                for found in _ended(seen, time.monotonic() - began, settings):
                    yield found
                return
            yield Finding(
                WARN, "pod", f"it waits: {seen.waiting}", f"kubectl get pods -A -l tesk/server={cluster.server_id}"
            )
        yield Finding(FAIL, "pod", f"it had not ended after {_TRIAL_SECONDS:g} s")
    except (BackendUnavailable, CannotRun) as error:
        yield Finding(FAIL, "pod", str(error))
    finally:
        with contextlib.suppress(BackendUnavailable):
            await backend.forget(attempt)
        await backend.close()


async def _followed(backend: KubernetesBackend) -> AsyncIterator[Observation]:
    """Yield why it waits, each reason once, and its end."""
    said: set[str] = set()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_TRIAL_SECONDS):
            async for changed in backend.changes():
                seen = await backend.observe(changed)
                if seen.phase.ended or (seen.waiting and seen.waiting not in said):
                    said.add(seen.waiting or "")
                    yield seen
                if seen.phase.ended:
                    return


def _ended(seen: Observation, seconds: float, settings: Settings) -> Iterator[Finding]:
    if seen.phase is not Phase.DONE:
        printed = "".join(log.stderr or "" for log in seen.executor_logs).strip()
        why = seen.reason or " ".join(seen.notes) or printed or f"it ended {seen.phase}"
        yield Finding(FAIL, "pod", why, _helps(why, settings.kubernetes))
        return
    yield Finding(OK, "pod", f"a task of two executors took {seconds:.1f} s, images and all")
    reached = (seen.executor_logs[1].stdout or "").split()
    if reached:
        yield Finding(
            WARN,
            "network",
            f"a pod of a task reaches {' and '.join(reached)}",
            "tasks.networkPolicy.enabled in the chart's values, in a cluster that enforces policies",
        )
    else:
        yield Finding(OK, "network", "a pod of a task reaches neither the API server nor a cloud's metadata")


def _helps(why: str, cluster: KubernetesSettings) -> str:
    if cluster.stager_image in why:
        return "kubernetes.stager_image and kubernetes.pull_secrets: nodes must be able to fetch it"
    if why.startswith("executors[0]") and "image" in why:
        return f"TESK_DEFAULTS_IMAGE=IMAGE {DOCTOR} --try, with an image that nodes can fetch"
    return ""


async def _as_it_is(image: str, caller: str) -> str:
    _ = caller
    return image


def plan_of(attempt: AttemptId, executors: tuple[Executor, ...], cores: float, ram_bytes: int, disk_bytes: int) -> Plan:
    """Return the plan of a task of nobody's."""
    return make_plan(
        Task(executors=executors),
        task_id=attempt.task_id,
        owner=LOCAL.name,
        extension=Extension(),
        cpu_cores=cores,
        ram_bytes=ram_bytes,
        disk_bytes=disk_bytes,
        tail_bytes=1024,
    )
