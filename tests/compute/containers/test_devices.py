"""GPUs, or whatever CDI names: told apart, given to one task at a time, known again by the next server."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from fakes.attempts import new_attempt, plan, shell, stdout, until, wait_for_words
from tesk.compute.backend import Phase
from tesk.errors import BackendUnavailable, CannotRun
from tesk.tes.task import Resources

CDI = Path("/var/run/cdi")
NAMES = ("tesk.test/thing=0", "tesk.test/thing=1")


@pytest.fixture
def things():
    """Describe two devices that are nothing but a variable each."""
    if os.geteuid() != 0:
        pytest.skip("only root can describe devices")
    made = [each for each in (CDI,) if not each.exists()]
    CDI.mkdir(exist_ok=True)
    devices = [{"name": str(n), "containerEdits": {"env": [f"THING_{n}=here"]}} for n in range(2)]
    spec = CDI / "tesk-test.json"
    spec.write_text(json.dumps({"cdiVersion": "0.3.0", "kind": "tesk.test/thing", "devices": devices}))
    yield
    spec.unlink()
    for folder in made:
        folder.rmdir()


def wants(count: str, script: str):
    """Plan a task that wants so many."""
    return plan(shell(script), resources=Resources(backend_parameters={"GPU_count": count}), volumes=("/data",))


def test_a_device_is_one_tasks_at_a_time_also_under_the_next_server(backend, things, tmp_path) -> None:
    async def story() -> None:
        first, second, third = new_attempt(), new_attempt(), new_attempt()
        waits = "echo begun; env | grep THING_; while [ ! -e /data/go ]; do sleep 0.05; done"
        async with backend(gpus=NAMES) as before:
            await before.start(first, wants("1", waits))
            await wait_for_words(before, first, b"begun")
        async with backend(gpus=NAMES) as place:
            with pytest.raises(BackendUnavailable, match="waits for 2 GPUs; 1 are free"):
                await place.start(second, wants("2", "true"))
            assert (await place.observe(second)).phase is Phase.ABSENT
            await place.start(third, wants("1", "env | grep THING_"))
            assert stdout(await until(place, third)) == "THING_1=here\n"
            await place.observe(first)
            (tmp_path / f"containers/attempts/{first}/root/data/go").touch()
            assert stdout(await until(place, first)) == "begun\nTHING_0=here\n"
            await place.start(second, wants("2", "env | grep THING_ | sort"))
            assert stdout(await until(place, second)) == "THING_0=here\nTHING_1=here\n"
            for attempt in (first, second, third):
                await place.forget(attempt)

    asyncio.run(story())


@pytest.mark.parametrize("asked", ["3", "-1", "many", "9" * 5000])
def test_what_can_never_be_given_is_refused(backend, asked: str) -> None:
    async def story() -> None:
        async with backend(gpus=NAMES) as place:
            assert (await place.capacity()).gpus == 2
            with pytest.raises(CannotRun, match="gpu_count"):
                await place.start(new_attempt(), wants(asked, "true"))

    asyncio.run(story())
