"""What no further attempt would heal ends the task at once, in the engine's words."""

import asyncio

import pytest

from fakes.attempts import finish, plan
from fakes.engine import Engine
from tesk.compute.backend import Phase
from tesk.tes.task import Executor, Resources


def ends_for_good(backend, words: str, executor: Executor, resources: Resources | None = None, **settings) -> None:
    async def story() -> None:
        async with backend(**settings) as place:
            seen = await finish(place, plan(executor, resources=resources))
            assert seen.phase is Phase.SYSTEM_FAILED, seen
            assert words in (seen.reason or "").lower(), seen.reason
            assert seen.final, seen.reason

    asyncio.run(story())


def test_a_user_that_an_image_names_and_does_not_have(backend, engine: Engine) -> None:
    engine.build("localhost/nobodys:1", "USER ghost")
    ends_for_good(backend, "ghost", Executor(image="localhost/nobodys:1", command=("true",)))


def test_a_user_of_the_settings_that_an_image_does_not_have(backend) -> None:
    ends_for_good(backend, "ghost", Executor(image="debian", command=("true",)), user="ghost")


def test_a_capability_that_nobody_knows(backend) -> None:
    ends_for_good(backend, "nonsense", Executor(image="debian", command=("true",)), capabilities=("NONSENSE",))


def test_a_folder_that_lies_where_the_image_has_a_file(backend) -> None:
    executor = Executor(image="debian", command=("true",), stdout="/bin/busybox/out")
    ends_for_good(backend, "/bin/busybox", executor)


def test_a_working_directory_that_is_a_file_of_the_image(backend) -> None:
    ends_for_good(backend, "busybox", Executor(image="debian", command=("true",), workdir="/bin/busybox/x"))


@pytest.mark.parametrize("path", ["/proc/x", "/sys/x/y", "/dev/null/x"])
def test_a_folder_where_none_can_be(backend, path: str) -> None:
    ends_for_good(backend, path[1:5].rstrip("/"), Executor(image="debian", command=("true",), workdir=path))


def test_a_device_that_this_machine_does_not_have(backend) -> None:
    gpu = Resources(backend_parameters={"gpu_count": "1"})
    ends_for_good(
        backend, "nobody.example/gpu", Executor(image="debian", command=("true",)), gpu, gpus=("nobody.example/gpu=9",)
    )
