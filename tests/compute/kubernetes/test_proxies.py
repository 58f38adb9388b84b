"""Proxies between us and a cluster: which is used for which server, and what it may see."""

import asyncio
import base64
import contextlib
import ssl

import pytest

from fakes.authority import authority
from fakes.kubernetes_api import KubernetesApi
from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.credentials import Access
from tesk.compute.kubernetes.kubeconfig import Cluster, User
from tesk.compute.kubernetes.objects import Pod, path_of
from tesk.errors import BackendUnavailable

PODS = path_of("pods", "ns")


@pytest.mark.parametrize(
    ("server", "no_proxy", "straight"),
    [
        ("https://10.1.2.3:6443", "10.0.0.0/8", True),
        ("https://11.1.2.3:6443", "10.0.0.0/8,other", False),
        ("https://api.corp.example:6443", ".corp.example", True),
        ("https://api.corp.example:6443", "corp.example:6443", True),
        ("https://api.corp.example:6443", "corp.example:443", False),
        ("https://anticorp.example:6443", "corp.example", False),
        ("https://corp.example", "*.corp.example,corp.example", True),
        ("https://[fd00::1]:6443", "fd00::/16", True),
        ("https://here", "*", True),
        ("https://127.0.0.1:6443", "", True),
        ("https://localhost:6443", "", True),
        ("http://here:80", "", True),
    ],
)
def test_a_proxy_of_the_environment_is_used_but_for_what_it_is_not_for(server, no_proxy, straight):
    environment = {"HTTPS_PROXY": "proxy:3128", "NO_PROXY": no_proxy}
    access = Access(Cluster(server=server), User(), "ns", environment=environment)
    assert access.proxy == (None if straight else "http://proxy:3128")


def test_a_proxy_of_the_kubeconfig_is_used_whatever_the_environment_says():
    async def body():
        async with KubernetesApi().serving() as proxy:
            proxy.put("pods", "ns", "a")
            cluster = Cluster(server="http://cluster.test:1", proxy_url=proxy.url)
            async with Api(Access(cluster, User(token="t"), "ns", environment={"NO_PROXY": "*"})) as api:
                assert (await api.get(f"{PODS}/a", Pod)).metadata.name == "a"
            _, _, _, headers = proxy.requests[0]
            assert headers["Host"] == "cluster.test:1"
            assert headers["Authorization"] == "Bearer t"

    asyncio.run(body())


@contextlib.asynccontextmanager
async def tunnels(port, asked):
    """Serve a proxy that lets whoever has its password through to `port`."""

    async def pour(reader, writer):
        with contextlib.closing(writer):
            while piece := await reader.read(65536):
                writer.write(piece)

    async def tunnel(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.decode())
        if b"Proxy-Authorization: Basic " + base64.b64encode(b"me:s3cret") not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pour(reader, back), pour(there, writer), return_exceptions=True)

    server = await asyncio.start_server(tunnel, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def test_through_a_proxy_only_the_cluster_sees_who_we_are(tmp_path):
    certificate, key, client, client_key = authority(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(client))
    tls.load_cert_chain(certificate, key)
    tls.verify_mode = ssl.CERT_REQUIRED
    asked = []

    async def body():
        async with KubernetesApi(tls=tls).serving() as server, tunnels(server.port, asked) as proxy:
            server.put("pods", "ns", "a")
            user = User(client_certificate=str(client), client_key=str(client_key), token="t0ken")
            for word, sentence in (("s3cret", ""), ("wr0ng", "its proxy answered 407")):
                cluster = Cluster(
                    server="https://cluster.test:6443",
                    certificate_authority=str(certificate),
                    proxy_url=f"http://me:{word}@{proxy}",
                )
                access = Access(cluster, user, "ns", environment={})
                async with Api(access, request_seconds=0.5) as api:
                    if not sentence:
                        assert (await api.get(f"{PODS}/a", Pod)).metadata.name == "a"
                        continue
                    with pytest.raises(BackendUnavailable, match=sentence) as caught:
                        await api.get(f"{PODS}/a", Pod)
                    assert word not in str(caught.value)

    asyncio.run(body())
    assert asked[0].startswith("CONNECT cluster.test:6443 ")
    assert "t0ken" not in "".join(asked)
