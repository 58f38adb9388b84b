"""The chart on a real cluster: installed, used, changed, taken back, removed. What it makes of values: tests/chart."""

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import postgres
import seaweed
from cluster.attempts import BUSYBOX
from cluster.release import PYTHON, Reached, Release, host_address, images, kubectl, left_in, namespace, shown, tools
from fakes import ftp_server
from fakes.environment import peer_python

PROGRAMS = Path(__file__).parents[1] / "peers/programs"


@pytest.fixture(scope="module", autouse=True)
def _images() -> None:
    tools()
    images()


@pytest.fixture(scope="module")
def release() -> Iterator[Release]:
    """A release with the values of a first installation, for tests that only use it."""
    with namespace() as place, tempfile.TemporaryDirectory() as folder:
        made = Release(place, Path(folder))
        made.install()
        yield made
        made.uninstall()


@pytest.fixture
def server(release: Release) -> Iterator[Reached]:
    with release.reached() as reached:
        yield reached


def script(text: str, **more: object) -> dict[str, Any]:
    return {"executors": [{"image": BUSYBOX, "command": ["sh", "-c", text]}], **more}


def stdout(task: dict[str, Any]) -> list[str]:
    return [log["stdout"] for log in task["logs"][-1]["logs"]]


# -- its life -------------------------------------------------------------------------------------------------------------------
def test_a_release_is_installed_tried_changed_taken_back_and_removed_and_leaves_nothing(tmp_path: Path) -> None:
    with namespace() as place:
        made = Release(place, tmp_path)
        said = made.install(wait=False)
        assert "helm test tesk" in said
        assert "a task ran" in made.helm("test", "tesk", "--logs"), "it waits for a server that is just begun"
        [first] = made.pods()
        [claim] = shown("pvc", "-n", place)
        volume = claim["spec"]["volumeName"]
        with made.reached() as before:
            survivor = before.submit(script("sleep 15; echo survived"))
            made.install(settings={"kubernetes": {"image_wait_seconds": 61}})
        [second] = made.pods()
        assert second["metadata"]["uid"] != first["metadata"]["uid"], "a changed setting makes a new pod"
        with made.reached() as after:
            assert after.token == before.token
            task = after.ended(survivor)
        assert stdout(task) == ["survived\n"]
        assert [log["metadata"]["kubernetes.pod"] for log in task["logs"]] == [f"{survivor}-1"]

        made.helm("rollback", "tesk", "1", "--wait")
        with made.reached() as back:
            assert back.token == before.token
            assert back.get(survivor)["state"] == "COMPLETE"
            assert stdout(back.ended(back.submit(script("echo again")))) == ["again\n"]
            asleep = [back.submit(script("trap '' TERM; sleep 600")) for _ in range(2)]
            kubectl("-n", place, "wait", "--for=jsonpath={.status.containerStatuses[?(@.name=='inputs')].state.terminated.exitCode}=0",
                    f"pod/{asleep[0]}-1", "--timeout=60s")  # fmt: skip

        made.uninstall()
        assert left_in(place) == []
        kubectl("wait", "--for=delete", f"pv/{volume}", "--timeout=60s")


def test_where_pod_security_is_restricted_it_runs_tasks_in_another_such_namespace(tmp_path: Path) -> None:
    with namespace("restricted") as place, namespace("restricted") as tasks:
        made = Release(
            place,
            tmp_path,
            settings={"kubernetes": {"security": "restricted"}},
            # Whether a class of volumes heeds fsGroup is the cluster's affair.
            persistence={"enabled": False},
            tasks={"namespace": tasks},
            listener={"enabled": True, "persistence": {"enabled": False}},
        )
        made.install()
        said = made.helm("test", "tesk", "--logs")
        assert "a task ran" in said
        assert "the listener was told" in said
        with made.reached() as reached:
            task = reached.ended(reached.submit(script("id -u")))
            assert task["logs"][0]["metadata"]["kubernetes.namespace"] == tasks
            assert stdout(task) == ["65532\n"]
            reached.submit(script("sleep 600"))
        made.uninstall()
        assert left_in(place) == left_in(tasks) == []


# -- what tasks may -------------------------------------------------------------------------------------------------------------
_REACH = """
import concurrent.futures, json, socket, sys, time
time.sleep(float(sys.argv[1]))
def reached(place):
    host, port = place.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), 3).close()
    except ConnectionRefusedError:
        return "refused"
    except OSError:
        return "no"
    return "yes"
with concurrent.futures.ThreadPoolExecutor() as pool:
    print(json.dumps(dict(zip(sys.argv[2:], pool.map(reached, sys.argv[2:])))))
"""


def test_a_task_reaches_what_is_outside_and_other_pods_but_no_api_server_and_no_metadata(
    release: Release, server: Reached, tmp_path: Path
) -> None:
    [service] = shown("service", "kubernetes", "-n", "default")
    [slice_] = shown("endpointslices", "-n", "default", "-l", "kubernetes.io/service-name=kubernetes")
    api = [
        f"{service['spec']['clusterIP']}:443",
        f"{slice_['endpoints'][0]['addresses'][0]}:{slice_['ports'][0]['port']}",
    ]
    metadata = "169.254.169.254:80"
    ours = f"tesk.{release.namespace}.svc.cluster.local:80"
    with ftp_server.serve(tmp_path, address=host_address(release.pods()[0])) as ftp:
        places = [*api, "kubernetes.default.svc:443", metadata, ours, f"{ftp.address}:{ftp.port}"]
        # Networks get to know of a new pod when it runs: what it does in its first moment is nobody's promise.
        command = ["python3", "-c", _REACH, "3", *places]
        task_id = server.submit({"executors": [{"image": PYTHON, "command": command}]})
        bare = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "bare"},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "bare", "image": PYTHON, "imagePullPolicy": "IfNotPresent", "command": command}]},
        }  # fmt: skip
        kubectl("-n", release.namespace, "create", "-f", "-", given=bare)
        task = json.loads(stdout(server.ended(task_id))[0])
        kubectl(
            "-n", release.namespace, "wait", "pod/bare", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s"
        )
        other = json.loads(kubectl("-n", release.namespace, "logs", "bare"))
        kubectl("-n", release.namespace, "delete", "pod", "bare", "--now")
    assert [task[place] for place in places] == ["no", "no", "no", "no", "yes", "yes"]
    assert [other[place] for place in places if place != metadata] == ["yes"] * 5, "without a policy"


# -- data -----------------------------------------------------------------------------------------------------------------------
def _by_tesk(server: Reached, task: dict[str, Any]) -> dict[str, Any]:
    return server.ended(server.submit(task))


def _by_py_tes(server: Reached, task: dict[str, Any]) -> dict[str, Any]:
    path = server.folder / "task.json"
    path.write_text(json.dumps(task))
    words = [str(peer_python("py-tes")), PROGRAMS / "py_tes_task.py", server.url, server.token, path]
    done = subprocess.run(words, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def stores(
    release: Release, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[seaweed.Server, str, ftp_server.Ftp, Path]]:
    """An S3 server with a bucket, and an FTP server with a folder, that pods reach and the release knows."""
    address = host_address(release.pods()[0])
    folder = tmp_path_factory.mktemp("ftp")
    with contextlib.ExitStack() as ends:
        try:
            s3 = seaweed.Server(tmp_path_factory.mktemp("s3"), address)
        except seaweed.Missing as missing:
            pytest.skip(str(missing))
        ends.callback(s3.stop)
        s3.start()
        ftp = ends.enter_context(ftp_server.serve(folder, address=address))
        known = [{"endpoint": s3.url, "access_key_id": seaweed.ACCESS_KEY, "secret_access_key": seaweed.SECRET_KEY}]
        kubectl(
            "-n", release.namespace, "create", "secret", "generic", "stores", f"--from-literal=s3={json.dumps(known)}"
        )
        release.install(
            secretSettings={"storage.s3": {"secret": "stores", "key": "s3"}},
            settings={"storage": {"ftp": [{"host": f"{address}:{ftp.port}", "user": ftp_server.USER, "password": ftp_server.PASSWORD}]}},
        )  # fmt: skip
        yield s3, s3.new_bucket(), ftp, folder


@pytest.mark.parametrize("run", [_by_tesk, _by_py_tes])
def test_a_task_brings_data_from_s3_and_ftp_and_takes_it_there(
    release: Release,
    stores: tuple[seaweed.Server, str, ftp_server.Ftp, Path],
    run: Callable[[Reached, dict[str, Any]], dict[str, Any]],
) -> None:
    s3, bucket, ftp, folder = stores
    s3.plant(bucket, "in/one", b"of the bucket\n")
    (folder / "two").write_bytes(b"of the folder\n")
    (folder / "joined").unlink(missing_ok=True)
    task = {
        "name": "data",
        "inputs": [
            {"url": f"s3://{bucket}/in/one", "path": "/data/one"},
            {"url": f"ftp{ftp.url}/two", "path": "/data/two"},
        ],
        "outputs": [
            {"url": f"s3://{bucket}/{run.__name__}", "path": "/results/joined", "type": "FILE"},
            {"url": f"ftp{ftp.url}/joined", "path": "/results/joined", "type": "FILE"},
        ],
        "volumes": ["/results"],
        "executors": [
            {"image": BUSYBOX, "command": ["cat", "/data/one", "/data/two"], "stdout": "/results/joined"},
            {"image": BUSYBOX, "command": ["sh", "-c", "wc -l </results/joined; echo counted >&2"]},
        ],
    }
    with release.reached() as server:
        done = run(server, task)
    assert done["state"] == "COMPLETE", done
    assert s3.stored(bucket, run.__name__) == b"of the bucket\nof the folder\n"
    assert (folder / "joined").read_bytes() == b"of the bucket\nof the folder\n"
    [log] = done["logs"]
    assert [each["exit_code"] for each in log["logs"]] == [0, 0]
    assert [each["stdout"] for each in log["logs"]] == ["of the bucket\nof the folder\n", "2\n"]
    assert log["logs"][1]["stderr"] == "counted\n"
    assert sorted((each["url"], int(each["size_bytes"])) for each in log["outputs"]) == sorted(
        (output["url"], 28) for output in task["outputs"]
    )


# -- many servers ---------------------------------------------------------------------------------------------------------------
def test_with_postgresql_many_servers_share_the_work_and_controllers_that_are_killed_are_replaced_by_others(
    release: Release, tmp_path: Path
) -> None:
    try:
        database = postgres.running(host_address(release.pods()[0]))
    except postgres.Missing as missing:
        pytest.skip(str(missing))
    with database as there, namespace() as place:
        made = Release(
            place,
            tmp_path,
            database={"url": there.new_database()},
            replicas=2,
            controllers={"apart": True, "replicas": 2},
            settings={"controller": {"lease_seconds": 5}},
        )
        made.install()
        assert len(made.pods()) == len(made.pods("controller")) == 2
        assert shown("pvc", "-n", place) == []
        with made.reached() as reached:
            ids = [reached.submit(script("sleep 20; echo whole")) for _ in range(4)]
            for each in ids:
                kubectl("-n", place, "wait", "--for=create", f"pod/{each}-1", "--timeout=60s")
            for pod in made.pods("controller"):
                kubectl("-n", place, "delete", "pod", pod["metadata"]["name"], "--force", "--grace-period=0")
            for each in ids:
                task = reached.ended(each)
                assert stdout(task) == ["whole\n"]
                assert len(task["logs"]) == 1
        made.uninstall()
        assert left_in(place) == []
