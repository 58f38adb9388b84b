"""`tesk doctor --kubernetes` where there is no cluster to ask, or one that knows nobody."""

import asyncio
import json
import os
import socket
import subprocess
import sys

from fakes.kubernetes_api import KubernetesApi


def kubeconfig(path, server):
    document = {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {"server": server}}],
        "users": [{"name": "it", "user": {"token": "wrong"}}],
    }
    path.write_text(json.dumps(document))
    return str(path)


def test_an_api_server_that_is_away_is_named(tesk, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    done = tesk("doctor", "--kubernetes", "--data-dir", "d", KUBECONFIG=kubeconfig(tmp_path / "k", url))
    assert done.returncode == 1
    assert f"fail cluster: the API server of the cluster ({url}) does not answer: Connection refused\n" in done.stdout
    assert "       try: kubectl cluster-info\n" in done.stdout


def test_an_api_server_that_does_not_know_us_is_quoted(tesk, tmp_path):
    fake = KubernetesApi()
    fake.token = "right"

    async def asked():
        async with fake.serving():
            words = ("doctor", "--kubernetes", "--data-dir", "d")
            return await asyncio.to_thread(tesk, *words, KUBECONFIG=kubeconfig(tmp_path / "k", fake.url))

    done = asyncio.run(asked())
    assert done.returncode == 1
    assert "fail cluster: the cluster does not know these credentials, or no longer: Unauthorized\n" in done.stdout
    assert "wrong" not in done.stdout + done.stderr


def test_a_package_that_is_missing_is_named_with_the_command_that_brings_it(tmp_path):
    program = "import sys; sys.modules['aiohttp'] = None; from tesk.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, "doctor", "--kubernetes", "--data-dir", tmp_path / "d"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"HOME": str(tmp_path)},
    )
    assert done.returncode == 1, done.stderr
    assert "fail cluster: Kubernetes wants one package more: pip install 'tesk[kubernetes]'\n" in done.stdout
