"""Folders of a task that lie in each other: whoever writes in the outer one cannot lead the inner one astray."""

import asyncio
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.attempts import ShelfStager, finish, local, plan, shell, stdout
from tesk.compute.local.sandbox import Places, host_arguments, sandbox_arguments
from tesk.tes.task import Output

PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


@given(
    st.lists(PATHS, min_size=1, max_size=3),
    st.lists(PATHS, max_size=3),
    st.lists(PATHS.map("/usr".__add__), max_size=2),
)
def test_nothing_is_bound_below_a_folder_that_executors_write_in(
    workdirs: list[str], volumes: list[str], outputs: list[str]
) -> None:
    what = plan(
        *(shell("true", workdir=workdir) for workdir in workdirs),
        volumes=tuple(volumes),
        outputs=tuple(Output(path=path, url="file:///o") for path in outputs),
    )
    words = sandbox_arguments(
        what.steps[0],
        what,
        Places(root="/root-of-task", tmp="/t", home="/h"),
        host=host_arguments((), path=()),
        network_off=True,
        owner=(1, 1),
        gate=8,
        status=9,
        more=None,
    )
    pairs = [(words[at + 1], words[at + 2]) for at, word in enumerate(words) if word == "--bind"]
    targets = [target for source, target in pairs if source.startswith("/root-of-task")]
    assert not [(one, other) for one in targets for other in targets if one.startswith(other + "/")]
    wanted = {entry.path for entry in what.shared}
    assert all(any(path == target or path.startswith(target + "/") for target in targets) for path in wanted)


def test_a_link_in_the_place_of_an_inner_folder_shows_the_next_executor_nothing_of_the_host(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "inner").mkdir(parents=True)
    (outside / "inner/secret").write_text("secret")
    plant = f"mv /w/x /w/y && ln -s {outside} /w/x"
    look = shell("cat /w/x/inner/secret /w/x/secret; ls /w; mkdir -p /w/y/inner && echo fine")

    async def story():
        async with local(tmp_path, ShelfStager()) as backend:
            return await finish(backend, plan(shell(plant, workdir="/w"), look, volumes=("/w/x/inner",)))

    seen = asyncio.run(story())
    assert stdout(seen, 1) == "x\ny\nfine\n", seen


def test_thousands_of_deep_paths_are_planned_at_once() -> None:
    deep = "/a" * 2000
    began = time.process_time()
    what = plan(shell("true", workdir="/a"), volumes=tuple(f"{deep}/{n}" for n in range(2000)))
    assert len(what.shared) == 2001
    assert time.process_time() - began < 5, "it is planned in the loop that everybody else waits for"


def test_a_folder_in_the_place_of_a_file_of_the_host_is_said_to_the_task_and_not_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with local(tmp_path, ShelfStager()) as backend:
            for _ in range(5):
                seen = await finish(backend, plan(shell("true"), volumes=("/etc/passwd",)))
                assert "/etc/passwd" in (seen.reason or "")

    asyncio.run(story())
    assert not caplog.records
