"""What the chart makes of its values. On a cluster it is tried by tests/cluster/test_chart.py."""

import importlib.util
import json

import pytest
import yaml

from chart.objects import CHART, ROOT, config_of, helm, made, needs_helm
from tesk.compute.kubernetes.rights import namespaces, uses_queue
from tesk.compute.kubernetes.settled import settled
from tesk.settings import KubernetesSettings, Settings
from tesk.settings.load import load
from tesk.telemetry.metrics import Metrics


def test_schema_and_readme_are_what_values_and_settings_say():
    spec = importlib.util.spec_from_file_location("chart_documents", ROOT / "scripts/chart_documents.py")
    assert spec is not None
    assert spec.loader is not None
    documents = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(documents)
    for path, text in documents.documents().items():
        assert path.read_text() == text, "run scripts/chart_documents.py"


def test_the_dashboard_shows_what_the_server_counts():
    text = Metrics().text({}, "1")
    names = {word.split("_bucket")[0].split("_count")[0] for word in _metrics((CHART / "dashboard.json").read_text())}
    assert names
    assert all(f"# TYPE {name} " in text for name in names)


def _metrics(text):
    for panel in json.loads(text)["panels"]:
        for target in panel["targets"]:
            yield from (
                word
                for word in target["expr"].replace("(", " ").replace("[", " ").replace(")", " ").split()
                if "tesk_" in word
            )


@needs_helm
def test_the_chart_is_without_fault():
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


@needs_helm
def test_the_server_reads_the_settings_that_the_chart_makes(tmp_path):
    objects = made(
        "--set-json", 'settings={"kubernetes": {"image_wait_seconds": 60}, "storage": {"s3": [{"bucket": "x"}]}}'
    )
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config_of(objects)))
    token = tmp_path / "token"
    token.write_text("x" * 48 + "\n")
    environ = {"TESK_CONFIG": str(path), "TESK_AUTH_TOKEN_FILE": str(token)}
    settings = load(environ=environ).settings
    assert settings.backend == "kubernetes"
    assert settings.kubernetes.image_wait_seconds == 60
    assert settings.kubernetes.namespace == "here"
    assert settings.kubernetes.stager_image.startswith("tesk/stager:")
    assert settings.storage.s3[0].bucket == "x"
    assert settings.auth.required
    variables = {
        each["name"] for each in objects["Deployment", "tesk"]["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert set(environ) <= variables


@needs_helm
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "replica=2"], "additional properties 'replica' not allowed"),
        (["--set", "replicas=two"], "'/replicas': got string, want integer"),
        (["--set", "settings.kubernetes.shim=foo"], "'/settings/kubernetes/shim': value must be one of"),
        (["--set", "settings.kubernetez.shim=auto"], "'/settings': additional properties 'kubernetez' not allowed"),
        (["--set", "tasks.namespace=Bad_NS"], "'/tasks/namespace': 'Bad_NS' does not match pattern"),
        (["--set", "tasks.otherNamespaces={a,b c}"], "'/tasks/otherNamespaces/1': 'b c' does not match pattern"),
        (["--set", "settings.kubernetes.namespaces.ada=Ada"], "'/settings/kubernetes/namespaces/ada': 'Ada' does not"),
        (["--set", "settings.kubernetes.gpu_resource=gpu"], "'/settings/kubernetes/gpu_resource': 'gpu' does not"),
        (["--set-json", 'settings.storage.s3=[{"endpoint": "s3.example.org"}]'], "'s3.example.org' does not match"),
        (["--set", "image.repository=my server"], "'/image/repository': 'my server' does not match pattern"),
        (["--set", "resources.requests.memory=lots"], "'/resources/requests/memory': 'lots' does not match pattern"),
        (["--set", "persistence.size=8 GB"], "'/persistence/size': '8 GB' does not match pattern"),
        (["--set", "tasks.networkPolicy.denied={10.0.0.0}"], "'/tasks/networkPolicy/denied/0': '10.0.0.0' does not"),
        (["--set", "ingress.hosts={https://x.org}"], "'/ingress/hosts/0': 'https://x.org' does not match pattern"),
        (["--set", "replicas=2"], "needs PostgreSQL"),
        (["--set", "autoscaling.enabled=true"], "needs PostgreSQL"),
        (["--set", "controllers.apart=true"], "needs PostgreSQL"),
        (["--set", "database.url=mysql://x"], "'/database/url': 'mysql://x' does not match pattern"),
        (["--set", "database.url=postgres://x,database.existingSecret=y"], "are both given"),
        (["--set", "auth.token.name="], "nobody is named"),
        (["--set", "ingress.enabled=true"], "name the host"),
        (["--set", "gateway.enabled=true"], "name the gateway"),
        (["--set", "secretSettings.x.secret=y"], "missing property 'key'"),
        (["--set-json", 'auth.users=[{"name": "ada", "password": "x"}]'], "missing property 'passwordHash'"),
    ],
)
def test_wrong_values_are_refused_with_words(arguments, said):
    done = helm("template", "tesk", str(CHART), *arguments)
    assert done.returncode != 0
    assert said in done.stderr


@needs_helm
@pytest.mark.parametrize(
    ("arguments", "image"),
    [
        ([], "busybox:latest"),
        (["--set", "settings.defaults.image=ours/small:1"], "ours/small:1"),
        (["--set", "test.image=registry.example.org/busybox:1"], "registry.example.org/busybox:1"),
    ],
)
def test_helm_test_and_the_doctor_in_the_server_try_the_same_image(arguments, image):
    objects = made(*arguments)
    assert config_of(objects)["defaults"]["image"] == image
    assert objects["Pod", "tesk-test"]["spec"]["containers"][0]["args"][1] == image


@needs_helm
def test_helm_test_runs_no_task_where_it_could_not_say_whose_it_is():
    of_users = ["--set", "auth.token.name=,auth.users[0].name=ada,auth.users[0].passwordHash=x"]
    for arguments, runs in (([], True), (["--set", "auth.enabled=false"], True), (of_users, False)):
        [container] = made(*arguments)["Pod", "tesk-test"]["spec"]["containers"]
        program = container["args"][0]
        compile(program, "program", "exec")
        assert ('"tesk", "run"' in program) is runs


@needs_helm
def test_the_notes_say_where_the_command_comes_from():
    said = helm("install", "tesk", str(CHART), "--namespace", "here", "--dry-run=client", "--set", "replicas=1").stdout
    notes = said.partition("NOTES:")[2]
    assert notes.index("pip install") < notes.index("tesk run --image busybox:latest")
    assert "exec -i deploy/tesk -- env" in notes


@needs_helm
def test_a_container_of_ours_may_do_next_to_nothing():
    objects = made()
    for spec in (
        objects["Deployment", "tesk"]["spec"]["template"]["spec"],
        objects["Pod", "tesk-test"]["spec"],
    ):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert all(init["name"] == "hand-over" for init in spec.get("initContainers", ()))
        [container] = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    assert objects["ServiceAccount", "tesk-task"]["automountServiceAccountToken"] is False


@needs_helm
@pytest.mark.parametrize(
    ("arguments", "handed"),
    [
        ([], True),
        (["--set", "settings.kubernetes.security=restricted"], False),
        (["--set", "settings.kubernetes.security=restricted,persistence.handOver=always"], True),
        (["--set", "persistence.handOver=never"], False),
        (["--set", "persistence.enabled=false"], False),
        (["--set", "database.existingSecret=db"], False),
        (["--set", "podSecurityContext.runAsUser=null"], False),
    ],
)
def test_a_volume_is_handed_over_by_root_where_that_is_allowed_and_there_is_one(arguments, handed):
    spec = made(*arguments)["Deployment", "tesk"]["spec"]["template"]["spec"]
    inits = spec.get("initContainers", [])
    assert [each["name"] for each in inits] == ["hand-over"] * handed
    for init in inits:
        assert "chown -R 65532:65532 /var/lib/tesk" in init["command"][-1]
        assert init["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["CHOWN", "DAC_OVERRIDE"]}


@needs_helm
@pytest.mark.parametrize("length", [10, 50, 58, 61, 62, 63])
def test_however_long_a_namespace_is_each_release_in_it_has_a_label_of_its_own(length):
    namespace = "n" * length
    found = set()
    for name in ("tesk", "tesk-of-a-laboratory-with-a-name-a", "tesk-of-a-laboratory-with-a-name-b"):
        said = made("--namespace", namespace, "--set", f"fullnameOverride={name}")
        config = json.loads(said["Secret", f"{name}-config"]["stringData"]["config.json"])
        found.add(
            settled(Settings(kubernetes=KubernetesSettings(server_id=config["kubernetes"]["server_id"]))).server_id
        )
    assert len(found) == 3


@needs_helm
def test_at_uninstall_a_job_ends_tasks_of_this_release_in_all_its_namespaces_with_rights_for_that_alone():
    more = "tasks.otherNamespaces={more},settings.kubernetes.queue=batch,settings.kubernetes.grace_seconds=7"
    objects = made("--set", more)
    hooks = {
        key: each
        for key, each in objects.items()
        if each["metadata"].get("annotations", {}).get("helm.sh/hook") == "post-delete"
    }
    assert {kind for kind, _ in hooks} == {"ServiceAccount", "Role", "RoleBinding", "Job"}
    spec = hooks["Job", "tesk-uninstall"]["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == "tesk-uninstall"
    [container] = spec["containers"]
    assert container["command"] == ["tesk", "kubernetes", "clear"]
    settings = load(environ={each["name"]: each["value"] for each in container["env"]}).settings.kubernetes
    assert settings.server_id == config_of(objects)["kubernetes"]["server_id"] == "here.tesk"
    assert namespaces(settings, "") == ("here", "more")
    assert settings.grace_seconds == 7
    assert uses_queue(settings)
    assert hooks["Role", "tesk-uninstall"]["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "patch", "deletecollection"]},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["deletecollection"]},
    ]
    for switched_off in ("tasks.endAtUninstall=false", "rbac.create=false"):
        assert ("Job", "tesk-uninstall") not in made("--set", switched_off)


@needs_helm
def test_service_info_has_an_id_that_does_not_change_with_pods():
    assert config_of(made())["info"]["id"] == "local.cluster.svc.here.tesk"
    ingress = made("--set", "ingress.enabled=true,ingress.hosts={tasks.example.org}")
    assert config_of(ingress)["info"]["id"] == "org.example.tasks"


@needs_helm
def test_secrets_lie_in_secrets():
    objects = made(
        "--set",
        "database.url=postgresql://u:hidden-word@db/tesk,secretSettings.storage\\.s3.secret=keys,secretSettings.storage\\.s3.key=s3",
    )
    for (kind, _), each in objects.items():
        assert kind == "Secret" or "hidden-word" not in json.dumps(each)
    [container] = objects["Deployment", "tesk"]["spec"]["template"]["spec"]["containers"]
    sources = {each["name"]: each.get("valueFrom") for each in container["env"]}
    assert sources["TESK_STORAGE_S3"] == {"secretKeyRef": {"name": "keys", "key": "s3"}}
    assert sources["TESK_DATABASE"] == {"secretKeyRef": {"name": "tesk-config", "key": "database-url"}}


@needs_helm
def test_task_pods_are_kept_from_the_api_server_and_from_metadata():
    objects = made("--set", "tasks.networkPolicy.apiServer={10.0.0.1}")
    policy = objects["NetworkPolicy", "tesk-tasks"]["spec"]
    assert policy["ingress"] == []
    [block] = [
        peer["ipBlock"] for peer in policy["egress"][1]["to"] if peer.get("ipBlock", {}).get("cidr") == "0.0.0.0/0"
    ]
    assert block["except"] == ["169.254.0.0/16", "10.0.0.1/32"]


@needs_helm
def test_everything_that_can_be_switched_on_is_made():
    objects = made(
        "--set", "replicas=3,database.existingSecret=db,ingress.enabled=true,ingress.hosts={tesk.example.org},ingress.className=nginx",
        "--set", "gateway.enabled=true,gateway.parentRefs[0].name=public,gateway.hostnames={tesk.example.org}",
        "--set", "autoscaling.enabled=true,monitoring.serviceMonitor.enabled=true,monitoring.dashboard.enabled=true",
        "--set", "tasks.namespace=tasks,tasks.otherNamespaces={more},image.digest=sha256:" + "0" * 64,
        "--set-json", 'extraObjects=[{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}}]',
    )  # fmt: skip
    kinds = {kind for kind, _ in objects}
    assert kinds >= {
        "Deployment", "Service", "Ingress", "HTTPRoute", "HorizontalPodAutoscaler", "PodDisruptionBudget", "ServiceMonitor",
        "ConfigMap", "NetworkPolicy", "Role", "RoleBinding", "ServiceAccount", "Secret",
    }  # fmt: skip
    assert "PersistentVolumeClaim" not in kinds
    assert ("ConfigMap", "tesk-more") in objects
    assert "replicas" not in objects["Deployment", "tesk"]["spec"]
    done = helm("template", "tesk", str(CHART), "--set", "tasks.namespace=tasks,tasks.otherNamespaces={more}")
    roles = [each for each in yaml.safe_load_all(done.stdout) if each and each["kind"] == "Role"]
    assert {role["metadata"]["namespace"] for role in roles} == {"tasks", "more"}


@needs_helm
def test_requests_and_tasks_may_have_servers_of_their_own():
    values = "controllers.apart=true,controllers.replicas=3,replicas=2,database.existingSecret=db"
    objects = made("--set", values, "--set", "monitoring.serviceMonitor.enabled=true")
    enabled = {}
    for name, replicas in (("tesk", 2), ("tesk-controller", 3)):
        spec = objects["Deployment", name]["spec"]
        assert spec["replicas"] == replicas
        assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
        [container] = spec["template"]["spec"]["containers"]
        budget = objects["PodDisruptionBudget", name]["spec"]["selector"]["matchLabels"]
        assert budget == spec["selector"]["matchLabels"]
        assert objects["Service", name]["spec"]["selector"] == budget, "both are asked for what they count"
        enabled[name] = {each["name"]: each.get("value") for each in container["env"]}.get("TESK_CONTROLLER_ENABLED")
    assert enabled == {"tesk": "false", "tesk-controller": None}
    selector = objects["Service", "tesk"]["spec"]["selector"].items()
    assert not selector <= objects["Deployment", "tesk-controller"]["spec"]["template"]["metadata"]["labels"].items()
