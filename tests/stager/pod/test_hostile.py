"""What a hostile program leaves in its control folder and its outputs harms its own result, and tells it nothing."""

from pathlib import Path

import pytest
from msgspec import json

from fakes.pod import UID
from tesk.pod import ShimStatus
from tesk.transfer import Deliver

SECRET = "key-of-the-stager"

PLANTED = {
    "a named pipe": "mkfifo status.json",
    "a link to the secret": "ln -s {job}/secret status.json",
    "a link that leads up and out": "ln -s ../../../job/secret status.json",
    "a link to nothing": "ln -s nothing status.json",
    "a link to itself": "ln -s status.json status.json",
    "ten gigabytes": "truncate -s 10G status.json",
    "a folder": "mkdir status.json",
    "a closed file": "echo '{{}}' > status.json; chmod 0 status.json",
    "no JSON": "echo nonsense > status.json",
    "JSON without a bottom": "echo '{deep}' > status.json",
    "no UTF-8": r"printf '\377\376' > status.json",
    "the status of another pod": "echo '{other_pod}' > status.json",
    "the status of another executor": "echo '{other_index}' > status.json",
    "a number that is none": "echo '{huge}' > status.json",
}


def _status(pod: str, index: int, exit_code: int) -> str:
    return json.encode(ShimStatus(pod=pod, index=index, exit_code=exit_code)).decode()


WORDS = {
    "own": _status(UID, 0, 0),
    "other_pod": _status("another", 0, 0),
    "other_index": _status(UID, 1, 0),
    "impossible": '{"tesk":"status/1","pod":"'
    + UID
    + '","index":0,"exit_code":0,"started":1e300,"ended":-1.5,"stdout_bytes":1'
    + "0" * 40
    + "}",
    "deep": '{"tesk":"status/1","more":' + "[" * 20000 + "]" * 20000 + "}",
    "huge": '{"tesk":"status/1","pod":"' + UID + '","index":0,"exit_code":1' + "0" * 40 + "}",
}


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED.keys())
def test_a_status_that_is_none_is_not_believed(pods, planted: str) -> None:
    pod = pods("cd {control}; " + planted + "; kill -9 $PPID; sleep 1000", "true", words=WORDS)
    (pod.job / "secret").write_text(SECRET)
    report = pod.run()
    (end,) = report.executors
    assert (end.killed, end.exit_code) == (True, None)
    assert report.error is None
    assert SECRET not in json.encode(report).decode()


@pytest.mark.parametrize(
    "planted",
    [
        "rm stdout.0 stdout.1; mkfifo stdout.0 stdout.1",
        "rm stdout.0; ln -s {job}/secret stdout.0; rm stdout.1; ln -s ../../../job/secret stdout.1",
        "rm stdout.*; truncate -s 10G stdout.0; truncate -s 10G stdout.1",
        "rm stdout.*; mkdir stdout.0 stdout.1",
        "rm -f lock turn here begun",
        "rm lock; ln -s {job}/secret lock",
        "rm lock; mkfifo lock",
        "rm -r ../0/*",
    ],
)
def test_whatever_else_it_leaves_there_is_no_harm(pods, planted: str) -> None:
    pod = pods("cd {control}; " + planted, "true", words=WORDS, ignore_errors=[0])
    (pod.job / "secret").write_text(SECRET)
    report = pod.run()
    assert report.error is None
    assert report.executors[0].index == 0
    assert SECRET not in json.encode(report).decode()


def test_a_status_that_a_program_writes_itself_is_its_own_affair(pods) -> None:
    pod = pods("cd {control}; echo '{own}' > status.json; kill -9 $PPID; sleep 1000", words=WORDS)
    assert [(end.exit_code, end.killed) for end in pod.run().executors] == [(0, False)]


def test_sizes_and_times_that_cannot_be_are_none(pods) -> None:
    pod = pods("cd {control}; echo '{impossible}' > status.json; kill -9 $PPID; sleep 1000", words=WORDS)
    report = pod.run()
    (end,) = report.executors
    assert (end.exit_code, end.started, end.ended, end.stdout_bytes) == (0, None, None, 1 << 60)
    assert pod.summary() == report


def test_links_in_outputs_are_never_followed_out_of_the_tasks_volume(pods, tmp_path: Path) -> None:
    pod = pods(
        "cd {root}/data; ln -s {job}/secret a; ln -s ../../../job/secret b; ln -s /proc/self/environ c;"
        " ln -s {job} d; mkdir e; ln -s ../../../../job/secret e/f; echo some > g",
        folders=("/data",),
        words=WORDS,
        outputs=[Deliver(index=0, path="/data", url=str(tmp_path / "out/data"))],
    )
    (pod.job / "secret").write_text(SECRET)
    report = pod.run()
    assert report.outputs is not None
    assert [file.path for file in report.outputs.files] == ["/data/g"]
    assert len(report.outputs.warnings) == 6
    assert {path.name for path in (tmp_path / "out/data").rglob("*")} == {"e", "g"}


def test_other_pods_words_are_not_believed(pods) -> None:
    """The control folder of one pod never has words of another one; if it had, they would wait in vain."""
    pod = pods("true", "true")
    for index in (0, 1):
        folder = pod.executor(index)
        folder.mkdir(parents=True)
        (folder / "here").write_text(json.encode({"tesk": "here/1", "pod": "another", "index": index}).decode())
    (pod.control / "inputs").mkdir()
    (pod.control / "inputs/report.json").write_text('{"tesk":"inputs/1","pod":"another","report":{"tesk":"report/1"}}')
    report = pod.run()
    assert [(end.index, end.exit_code) for end in report.executors] == [(0, 0), (1, 0)]


def test_two_executors_do_not_answer_for_each_other(pods) -> None:
    pod = pods("cd {control}; cat ../1/here > here; cp here ../0/here; exit 5", "true", words=WORDS)
    assert [(end.index, end.exit_code) for end in pod.run().executors] == [(0, 5)]
