"""What the containers of a pod are told, and how much of it fits."""

import gzip
import random
from base64 import b64decode

import msgspec
import pytest

from fakes.manifests import ATTEMPT, SETTINGS, executors, plan_of
from tesk.caller import Caller
from tesk.compute.kubernetes.policy import Policy
from tesk.compute.kubernetes.secret import secret_manifest
from tesk.compute.kubernetes.submission import Submissions
from tesk.compute.plan import Plan
from tesk.errors import CannotRun
from tesk.pod import PodExecutor, PodJob, ShimJob
from tesk.settings import S3Bucket, Settings, StorageSettings
from tesk.tes.task import Executor, FileType, Input, Task, to_json
from tesk.tes.validation import accept

STORAGE = StorageSettings(s3=(S3Bucket(bucket="b", access_key_id="k", secret_access_key="s"),))


def secret_of(plan: Plan) -> dict[str, object]:
    return secret_manifest(ATTEMPT, plan, "some-uid", STORAGE, server_id="here", namespace="tasks")


def item(secret: dict[str, object], name: str, kind: type[msgspec.Struct]) -> msgspec.Struct:
    return msgspec.json.decode(gzip.decompress(b64decode(secret["data"][name])), type=kind)


def test_a_secret_goes_with_its_pod_and_is_never_changed():
    secret = secret_of(plan_of())
    assert secret["metadata"] == {
        "name": str(ATTEMPT),
        "namespace": "tasks",
        "labels": {
            "app.kubernetes.io/managed-by": "tesk",
            "tesk/task": ATTEMPT.task_id,
            "tesk/attempt": "2",
            "tesk/server": "here",
        },
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": str(ATTEMPT), "uid": "some-uid"}],
    }
    assert (secret["type"], secret["immutable"]) == ("Opaque", True)


def test_the_pod_of_a_job_owns_its_secret_under_its_own_name():
    secret = secret_manifest(ATTEMPT, plan_of(), "u", STORAGE, server_id="here", owner="job-x2j4f")
    assert secret["metadata"]["ownerReferences"][0]["name"] == "job-x2j4f"
    assert secret["metadata"]["name"] == str(ATTEMPT)


def test_each_executor_has_an_item_of_its_own():
    steps = (
        Executor(image="a", command=("sh", "-c", "echo $(A)\n"), env={"A": "true"}, workdir="/w", stdout="/out/o"),
        Executor(image="b", command=("x",), ignore_error=True),
    )
    secret = secret_of(plan_of(Task(executors=steps)))
    assert secret["data"].keys() == {"stager", "executor-0", "executor-1"}
    assert item(secret, "executor-0", ShimJob) == ShimJob(
        pod="some-uid",
        index=0,
        command=("sh", "-c", "echo $(A)\n"),
        env={"A": "true"},
        workdir="/w",
        workdir_made="/.tesk/workdir/0",
        stdout="/out/o",
    )


def test_a_working_directory_below_a_folder_of_the_task_is_not_made():
    task = Task(executors=executors(workdir="/data/inner"), volumes=("/data",))
    assert item(secret_of(plan_of(task)), "executor-0", ShimJob).workdir_made is None


def test_only_the_stager_knows_what_is_moved_and_by_which_keys():
    task = Task(
        executors=(*executors(), *executors(ignore_error=True)),
        inputs=(Input(path="/etc/conf", content="hush", type=FileType.FILE),),
    )
    secret = secret_of(plan_of(task))
    job = item(secret, "stager", PodJob)
    assert (job.pod, job.attempt, job.settings, job.singles) == ("some-uid", str(ATTEMPT), STORAGE, ("/etc/conf",))
    assert job.executors == (PodExecutor(), PodExecutor(ignore_error=True))
    assert b"hush" not in gzip.decompress(b64decode(secret["data"]["executor-0"]))


def test_the_same_attempt_has_the_same_secret():
    assert secret_of(plan_of()) == secret_of(plan_of())


# -- trap 9 -----------------------------------------------------------------------------------------------------------------


def noise(size: int) -> str:
    return random.Random(7).randbytes(size // 2).hex()  # half of it is left, compressed


def with_content(*contents: str) -> Task:
    entries = (Input(path=f"/data/{n}", content=text, type=FileType.FILE) for n, text in enumerate(contents))
    return Task(executors=executors(), inputs=tuple(entries))


def sent(task: Task, caller: str = "alice") -> list[tuple[str, str]]:
    accepted = accept(to_json(task), parameters=frozenset(), content_limit_bytes=8 * 1024 * 1024)
    look = Submissions(Policy(SETTINGS), Settings(kubernetes=SETTINGS))
    return [(each.path, each.detail) for each in look.check(accepted, Caller(caller))]


def test_trap_9_what_does_not_fit_into_a_secret_is_refused_with_the_limit_named():
    with pytest.raises(CannotRun, match=r"The task is too large for a pod: .* of the 1048576 that a Kubernetes secret"):
        secret_of(plan_of(with_content(noise(3_000_000))))


def test_trap_9_it_is_refused_when_it_is_sent():
    ((path, detail),) = sent(with_content(noise(3_000_000)))
    assert path == ""
    assert "of the 1048576 that a Kubernetes secret may have" in detail


def test_trap_9_a_megabyte_that_is_compressed_fits():
    assert sent(with_content(noise(1_000_000))) == []
    assert sent(with_content("x" * 5_000_000)) == []


def test_trap_9_too_many_executors_with_too_many_paths_are_refused():
    inputs = tuple(Input(path=f"/data{n}/x", content="", type=FileType.FILE) for n in range(100))
    ((_, detail),) = sent(Task(executors=executors(200), inputs=inputs))
    assert "give it fewer executors, or paths in fewer folders" in detail
    assert sent(Task(executors=executors(20), inputs=inputs)) == []


def test_a_path_that_cannot_be_shown_is_left_to_the_run():
    entries = (Input(path="/proc/x", content="a" * 300_000, type=FileType.FILE),)
    assert sent(Task(executors=executors(), inputs=entries)) == []
