"""What happens in a pod, in order: inputs, one executor after the other, outputs, the report."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.pod import Pod
from tesk.tes.task import FileType
from tesk.transfer import Deliver, Fetch

Pods = Callable[..., Pod]


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    made: list[Pod] = []

    def make(*commands: str, **more: Any) -> Pod:
        made.append(Pod(tmp_path, *commands, **more))
        return made[-1]

    yield make
    for pod in made:
        pod.close()


def test_a_task_with_inputs_and_outputs_is_run_from_one_end_to_the_other(pods: Pods, tmp_path: Path) -> None:
    pod = pods(
        "cat {root}/data/in.txt; echo more >> {root}/data/in.txt",
        "echo problem >&2; tr a-z A-Z < {root}/data/in.txt > {root}/data/out.txt",
        inputs=[Fetch(index=0, path="/data/in.txt", url=str(tmp_path / "source/in.txt"))],
        outputs=[Deliver(index=0, path="/data/out.txt", url=str(tmp_path / "out/out.txt"), type=FileType.FILE)],
    )
    (pod.source / "in.txt").write_text("some\n")
    report = pod.run()
    assert report.error is None
    assert report.inputs is not None
    assert report.inputs.error is None
    assert [(end.index, end.exit_code, end.stdout, end.stderr) for end in report.executors] == [
        (0, 0, "some\n", ""),
        (1, 0, "", "problem\n"),
    ]
    assert (pod.out / "out.txt").read_text() == "SOME\nMORE\n"
    assert (pod.source / "in.txt").read_text() == "some\n"
    assert report.outputs is not None
    assert [(file.path, file.size_bytes) for file in report.outputs.files] == [("/data/out.txt", 10)]
    assert pod.summary() == report
    assert [process.wait(10) for process in pod.processes] == [0, 0, 0, 0]
