"""Which paths the executors of a task share: one rule for all backends, and each of them keeps it."""

import asyncio

import pytest

from fakes.attempts import ShelfStager, finish, plan, shell, stdout
from tesk.compute.plan import Shared, make_plan
from tesk.errors import CannotRun
from tesk.tes.task import Executor, Extension, FileType, Input, Output, Task

PATHS = [
    # what is asked, what is shared
    ({"inputs": [Input(path="/data/a/x", content="")]}, {"/data/a": "FOLDER"}),
    ({"inputs": [Input(path="/data/a/x", content=""), Input(path="/data/y", content="")]}, {"/data": "FOLDER"}),
    ({"inputs": [Input(path="/data/d", url="file:///d", type=FileType.DIRECTORY)]}, {"/data/d": "FOLDER"}),
    ({"inputs": [Input(path="/x", content="")]}, {"/x": "INPUT_FILE"}),
    ({"inputs": [Input(path="/etc/tool.conf", content="")]}, {"/etc/tool.conf": "INPUT_FILE"}),
    ({"inputs": [Input(path="/root/.netrc", content="")]}, {"/root/.netrc": "INPUT_FILE"}),
    ({"outputs": [Output(path="/out", url="file:///o")]}, {"/out": "OUTPUT_FILE"}),
    ({"outputs": [Output(path="/root/out", url="file:///o")]}, {"/root/out": "OUTPUT_FILE"}),
    ({"outputs": [Output(path="/var/lib/x/out", url="file:///o")]}, {"/var/lib/x": "FOLDER"}),
    ({"outputs": [Output(path="/library/out", url="file:///o")]}, {"/library": "FOLDER"}),
    ({"outputs": [Output(path="/r/o", url="file:///o", type=FileType.DIRECTORY)]}, {"/r/o": "FOLDER"}),
    ({"outputs": [Output(path="/r/p-*/o.txt", url="file:///o", path_prefix="/r")]}, {"/r": "FOLDER"}),
    ({"outputs": [Output(path="/r/s/*.txt", url="file:///o", path_prefix="/r")]}, {"/r/s": "FOLDER"}),
    ({"outputs": [Output(path=r"/r/\*/s/*", url="file:///o", path_prefix="/r")]}, {"/r/*/s": "FOLDER"}),
    ({"outputs": [Output(path="/r/a*b", url="file:///o")]}, {"/r": "FOLDER"}),
    ({"outputs": [Output(path=r"/r\s/o", url="file:///o")]}, {"/rs": "FOLDER"}),
    ({"volumes": ["/vol/"]}, {"/vol": "FOLDER"}),
    ({"volumes": ["/vol//deep/.", "/vol/deep/er"]}, {"/vol/deep": "FOLDER"}),
    ({"volumes": ["/tmp"], "inputs": [Input(path="/tmp/a/x", content="")]}, {"/tmp": "FOLDER"}),
    ({"inputs": [Input(path="/fPBhMC/x", content="")], "volumes": ["/a"]}, {"/a": "FOLDER", "/fPBhMC": "FOLDER"}),
    ({"executor": {"stdin": "/in/a", "stdout": "/o/b", "stderr": "/e"}}, {"/in": "FOLDER", "/o": "FOLDER", "/e": "OUTPUT_FILE"}),
    ({"executor": {"stdout": "/dev/null", "workdir": "/usr/bin"}}, {}),
    ({"executor": {"workdir": "/w"}, "volumes": ["/w/v"]}, {"/w": "WORKDIR", "/w/v": "FOLDER"}),
    ({"executor": {"workdir": "/v/w"}, "volumes": ["/v"]}, {"/v": "FOLDER"}),
]  # fmt: skip

IMPOSSIBLE = [
    {"volumes": ["/"]},
    {"volumes": ["/proc/x"]},
    {"inputs": [Input(path="/dev/sda", content="")]},
    {"outputs": [Output(path="/sys/x", url="file:///o")]},
    {"outputs": [Output(path="/*.txt", url="file:///o", path_prefix="/")]},
    {"outputs": [Output(path="/etc/*.conf", url="file:///o", path_prefix="/etc")]},
    {"inputs": [Input(path="/data/a\0b", content="")]},
]


def planned(asked: dict):
    """Plan a task with these paths."""
    asked = dict(asked)
    executor = Executor(image="debian", command=("true",), **asked.pop("executor", {}))
    return make_plan(
        Task(executors=(executor,), **{key: tuple(value) for key, value in asked.items()}),
        task_id="t",
        owner="me",
        extension=Extension(),
        cpu_cores=1,
        ram_bytes=1,
        disk_bytes=0,
        tail_bytes=1,
    )


@pytest.mark.parametrize(("asked", "shared"), PATHS)
def test_what_executors_share_follows_one_rule(asked: dict, shared: dict[str, str]) -> None:
    assert {entry.path: entry.kind.value for entry in planned(asked).shared} == shared


@pytest.mark.parametrize("asked", IMPOSSIBLE)
def test_a_path_that_no_backend_can_show_is_refused_by_name(asked: dict) -> None:
    path = str(next(iter(asked.values()))[0] if "volumes" in asked else next(iter(asked.values()))[0].path)
    with pytest.raises(CannotRun) as refused:
        planned(asked)
    assert repr(path)[1:-1] in str(refused.value)


def test_every_shared_path_can_be_written_by_one_executor_and_read_by_the_next(backend) -> None:
    # All at once: one attempt with what the table asks for, but for what lies in another's place.
    asked = [shared for _, shared in PATHS]
    files: dict[str, str] = {}
    for shared in asked:
        for path, kind in shared.items():
            if kind != Shared.WORKDIR:
                files[path] = path if kind.endswith("FILE") else f"{path}/written"
    volumes = tuple(path for path, file in files.items() if path != file)
    outputs = tuple(Output(path=file, url=f"file://{file}") for file in files.values())
    write = "".join(f"echo '{file}' > '{file}' && " for file in files.values()) + "true"
    read = "".join(f"cat '{file}' && " for file in files.values()) + "true"
    stager = ShelfStager()

    async def story() -> None:
        async with backend(stager) as place:
            seen = await finish(place, plan(shell(write), shell(read), volumes=volumes, outputs=outputs))
            assert stdout(seen, 1).splitlines() == [*files.values()], seen

    asyncio.run(story())
    assert stager.shelf == {file: f"{file}\n".encode() for file in files.values()}
