"""What is filled in where the settings of the cluster say nothing."""

from pathlib import Path

import pytest

from fakes.manifests import plan_of
from tesk.compute.kubernetes.settled import policy_of, settled
from tesk.errors import StartError
from tesk.settings import ContainersSettings, KubernetesSettings, LocalSettings, Settings


def server_id(**given: object) -> str:
    return settled(Settings(**given)).server_id


def test_servers_with_one_database_are_one_installation_whoever_logs_in():
    one = server_id(database="postgresql://a:secret@db/tesk", data_dir="/a")
    assert one == server_id(database="postgresql://b@db:5432/tesk", data_dir="/b")
    assert one != server_id(database="postgresql://a:secret@db/other")
    assert "secret" not in one


def test_a_database_in_a_file_is_that_of_one_machine_and_one_file():
    assert server_id(data_dir="/a") == server_id(database="/a/tesk.db")
    assert server_id(data_dir="/a") != server_id(data_dir="/b")


def test_an_id_that_is_given_stays():
    assert server_id(kubernetes=KubernetesSettings(server_id="lab")) == "lab"


@pytest.mark.parametrize("odd", ["a b", "-a", "a" * 64, "a/b"])
def test_an_id_that_can_be_no_label_is_refused(odd: str):
    with pytest.raises(StartError, match=r"kubernetes\.server_id: .* cannot be a label"):
        server_id(kubernetes=KubernetesSettings(server_id=odd))


def test_a_template_may_lie_in_a_file(tmp_path: Path):
    file = tmp_path / "pod.yaml"
    file.write_text("spec: {schedulerName: mine}\n")
    policy = policy_of(KubernetesSettings(pod_template=str(file)))
    assert policy.asked(plan_of()).patches == ({"spec": {"schedulerName": "mine"}},)
    with pytest.raises(StartError, match=r"kubernetes\.pod_template: /nowhere/pod\.yaml cannot be read"):
        policy_of(KubernetesSettings(pod_template="/nowhere/pod.yaml"))


@pytest.mark.parametrize(("backend", "grace"), [("local", 1.0), ("containers", 2.0), ("kubernetes", 3.0)])
def test_grace_and_patience_are_those_of_the_backend_in_use(backend: str, grace: float):
    settings = Settings(
        backend=backend,
        local=LocalSettings(grace_seconds=1, host_lost_seconds=1),
        containers=ContainersSettings(grace_seconds=2, host_lost_seconds=2),
        kubernetes=KubernetesSettings(grace_seconds=3, host_lost_seconds=3),
    )
    assert (settings.grace_seconds, settings.host_lost_seconds) == (grace, grace)
