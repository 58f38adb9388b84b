"""`tesk kubernetes clear` on a real cluster: what an installation left goes, and what is another's stays."""

import json
import os
import subprocess

from msgspec import structs

from cluster.conftest import Cluster
from fakes.attempts import new_attempt, plan, shell, until
from fakes.pods import parts, settings
from fakes.process import PROGRAM
from tesk.compute.backend import Phase
from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.backend import KubernetesBackend
from tesk.compute.kubernetes.objects import Bare, Pod
from tesk.compute.kubernetes.settled import doctors_id
from tesk.settings import KubernetesSettings


async def leave(given: KubernetesSettings) -> str:
    """Be a server that goes for good while its task runs. Return the name of its pod."""
    backend = KubernetesBackend(given, *parts(given))
    await backend.open()
    try:
        attempt = new_attempt()
        await backend.start(attempt, plan(shell("sleep 600"), cpu_cores=0.02, ram_bytes=50_000_000))
        await until(backend, attempt, lambda seen: seen.phase is Phase.RUNNING)
    finally:
        await backend.close()
    return str(attempt)


def clear(given: KubernetesSettings) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("TESK_")}
    env |= {
        "TESK_CONFIG": os.devnull,
        "TESK_KUBERNETES_SERVER_ID": given.server_id,
        "TESK_KUBERNETES_NAMESPACES": json.dumps({"anybody": given.namespace}),
    }
    done = subprocess.run(
        [PROGRAM, "kubernetes", "clear"], env=env, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_a_server_left_is_cleared_and_what_another_has_stays(cluster: Cluster) -> None:
    async def body(api: Api) -> None:
        gone, lives = settings(cluster.namespace), settings(cluster.namespace)
        cleared, stays = await leave(gone), await leave(lives)
        doctors = await leave(structs.replace(gone, server_id=doctors_id(gone.server_id)))
        assert cleared != stays
        assert clear(gone) == "2 pods were there, and none is left\n", "and that of a doctor that was cut off"
        pods, _ = await api.list(cluster.path("pods"), Pod)
        assert [pod.metadata.name for pod in pods] == [stays]
        secrets, _ = await api.list(cluster.path("secrets"), Bare)
        assert [secret.metadata.name for secret in secrets if secret.metadata.name not in {cleared, doctors}] == [stays]
        assert clear(gone) == "0 pods were there, and none is left\n", "twice is once"

    cluster.run(body)
