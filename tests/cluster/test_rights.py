"""What the server asks an API server for, beside what the chart's Role grants its account: all of it, and nothing else."""

import asyncio
import json
import subprocess
from collections import Counter
from pathlib import Path

from cluster.release import CHART, kubectl, namespace, shown, tools
from fakes.attempts import finish, new_attempt, plan, shell, until, wait_for_words
from fakes.pods import opened, settings
from tesk.compute.backend import Phase
from tesk.compute.kubernetes.backend import KubernetesBackend
from tesk.compute.kubernetes.objects import Rule
from tesk.compute.plan import Plan

NEVER_MOUNTED = """
spec:
  volumes: [{name: never, configMap: {name: there-is-none}}]
  containers: [{name: inputs, volumeMounts: [{name: never, mountPath: /never}]}]
"""


def test_tasks_of_all_kinds_run_with_the_rights_of_the_role_and_use_each_of_them(tmp_path: Path) -> None:
    tools()
    with namespace() as place:
        words = ["--namespace", place, "--set", "settings.kubernetes.queue=batch"]
        words += ["--show-only", "templates/rbac.yaml", "--show-only", "templates/serviceaccounts.yaml"]
        made = subprocess.run(["helm", "template", "tesk", CHART, *words], check=True, capture_output=True, text=True)
        (tmp_path / "role.yaml").write_text(made.stdout)
        kubectl("--namespace", place, "apply", "-f", str(tmp_path / "role.yaml"))

        config = json.loads(kubectl("config", "view", "--raw", "--minify", "--output", "json"))
        config["users"][0]["user"] = {"token": kubectl("--namespace", place, "create", "token", "tesk").strip()}
        (tmp_path / "kubeconfig").write_text(json.dumps(config))

        calls = asyncio.run(_calls(place, str(tmp_path / "kubeconfig")))
        [role] = shown("role", "tesk", "--namespace", place)
    granted = {
        Rule(verb, resource.partition("/")[0], group, resource.partition("/")[2])
        for each in role["rules"]
        for group in each["apiGroups"]
        for resource in each["resources"]
        for verb in each["verbs"]
    }
    # The version of a cluster, which is everybody's to know, is no resource.
    assert {rule for rule in calls if rule.resource} == granted


async def _calls(place: str, kubeconfig: str) -> Counter[Rule]:
    """Run tasks of all kinds, and return what was asked for."""
    async with asyncio.TaskGroup() as kinds:
        tasks = [kinds.create_task(kind(place, kubeconfig)) for kind in (_good_canceled_and_kept, _stuck, _queued)]
    return sum((task.result() for task in tasks), Counter())


def _small(script: str) -> Plan:
    return plan(shell(script), cpu_cores=0.02, ram_bytes=50_000_000)


async def _good_canceled_and_kept(place: str, kubeconfig: str) -> Counter[Rule]:
    async with opened(KubernetesBackend, settings(place, kubeconfig=kubeconfig, keep_seconds=60)) as backend:
        assert (await backend.observe(new_attempt())).phase is Phase.ABSENT
        assert (await finish(backend, _small("echo good"))).phase is Phase.DONE
        attempt = new_attempt()
        await backend.start(attempt, _small("echo here; sleep 600"))
        await backend.start(attempt, _small("echo here; sleep 600"))
        await wait_for_words(backend, attempt, b"here")
        await backend.stop(attempt, 1)
        await until(backend, attempt)
        await backend.forget(attempt)
    return backend.api.calls


async def _stuck(place: str, kubeconfig: str) -> Counter[Rule]:
    given = settings(place, kubeconfig=kubeconfig, pod_template=NEVER_MOUNTED, volume_wait_seconds=1)
    async with opened(KubernetesBackend, given) as backend:
        seen = await finish(backend, _small("true"))
        assert seen.phase is Phase.SYSTEM_FAILED
        assert "there-is-none" in (seen.reason or "")
    return backend.api.calls


async def _queued(place: str, kubeconfig: str) -> Counter[Rule]:
    async with opened(KubernetesBackend, settings(place, kubeconfig=kubeconfig, queue="batch")) as backend:
        attempt = new_attempt()
        await backend.start(attempt, _small("true"))
        assert (await backend.observe(attempt)).phase is Phase.WAITING
        await backend.stop(attempt, 1)
        assert (await backend.observe(attempt)).phase is Phase.ABSENT
    return backend.api.calls
