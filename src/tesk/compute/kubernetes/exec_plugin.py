"""Credentials by a program that the kubeconfig names (client.authentication.k8s.io), kept until shortly before their end."""

import asyncio
import contextlib
import math
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct, field

from tesk.compute.kubernetes.kubeconfig import Cluster, Exec
from tesk.errors import BackendUnavailable, StartError

_GROUP: Final = "client.authentication.k8s.io/"
_VERSIONS: Final = (f"{_GROUP}v1", f"{_GROUP}v1beta1")
_EXTENSION: Final = f"{_GROUP}exec"
_CALL_SECONDS = 60.0
_EARLY_SECONDS = 60.0
_LEAST_SECONDS = 5.0
_SAID_CHARACTERS = 300


class Credential(Struct, frozen=True, rename="camel"):
    """What the program said: a token, a certificate, or both."""

    token: str | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None
    expiration_timestamp: datetime | None = None

    def __repr__(self) -> str:
        return "Credential(...)"

    @property
    def certificate(self) -> bytes | None:
        """The certificate, PEM as it came."""
        return self.client_certificate_data.encode() if self.client_certificate_data else None

    @property
    def key(self) -> bytes | None:
        """Its key, PEM as it came."""
        return self.client_key_data.encode() if self.client_key_data else None


class _Answer(Struct, frozen=True):
    api_version: str = field(name="apiVersion", default="")
    status: Credential | None = None

    def __repr__(self) -> str:
        return "_Answer(...)"


class Plugin:
    """The program `plugin` of a kubeconfig."""

    def __init__(
        self, plugin: Exec, cluster: Cluster, environment: Mapping[str, str], clock: Callable[[], float]
    ) -> None:
        if plugin.api_version not in _VERSIONS:
            raise StartError(
                f"{plugin.command} of the kubeconfig speaks {plugin.api_version or 'no version that it names'}: "
                f"{' and '.join(_VERSIONS)} are known"
            )
        self._plugin = plugin
        self._environment = {
            **environment,
            **{each.name: each.value for each in plugin.env or ()},
            "KUBERNETES_EXEC_INFO": _told(plugin, cluster),
        }
        self._clock = clock
        self._credential: Credential | None = None
        self._until = 0.0
        self._refused = -math.inf

    def good(self) -> bool:
        """Say whether what was said last still does."""
        return self._credential is not None and self._clock() < self._until

    async def credential(self, *, again: bool = False) -> Credential:
        """Return what to show, by a call where it is due or `again` was refused. Raises BackendUnavailable."""
        if again and self._clock() - self._refused < _LEAST_SECONDS:
            again = False  # another answer than just now is not to be expected
        if again or self._credential is None or not self.good():
            if again:
                self._refused = self._clock()
            # Whatever comes of it, the next call is not at once.
            self._until = self._clock() + _LEAST_SECONDS
            self._credential = await self._call()
            expires = self._credential.expiration_timestamp
            lasts = expires.timestamp() - time.time() if expires else float("inf")
            # A minute before the end, or at four fifths of what lasts shorter.
            self._until = self._clock() + max(lasts - _EARLY_SECONDS, lasts * 0.8, _LEAST_SECONDS)
        return self._credential

    async def _call(self) -> Credential:
        name = self._plugin.command
        try:
            process = await asyncio.create_subprocess_exec(
                name, *(self._plugin.args or ()), env=self._environment, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
            )
        except OSError as error:
            hint = f" ({self._plugin.install_hint.strip()})" if self._plugin.install_hint else ""
            raise BackendUnavailable(f"{name} of the kubeconfig cannot be run: {error.strerror}{hint}") from None
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                out, err = await process.communicate()
        except TimeoutError:
            raise BackendUnavailable(f"{name} of the kubeconfig said nothing in {_CALL_SECONDS:.0f} s") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode != 0:
            said = err.decode(errors="replace").strip().rpartition("\n")[2][:_SAID_CHARACTERS]
            raise BackendUnavailable(f"{name} of the kubeconfig ended with {process.returncode}: {said or 'no word'}")
        return self._read(out)

    def _read(self, out: bytes) -> Credential:
        name = self._plugin.command
        try:
            answer = msgspec.json.decode(out, type=_Answer)
        except msgspec.MsgspecError:
            raise BackendUnavailable(f"{name} of the kubeconfig wrote no ExecCredential") from None
        if answer.api_version != self._plugin.api_version:
            raise BackendUnavailable(
                f"{name} of the kubeconfig was asked for {self._plugin.api_version} and wrote {answer.api_version[:80]}"
            )
        if answer.status is None or not (answer.status.token or answer.status.certificate):
            raise BackendUnavailable(f"{name} of the kubeconfig gave neither a token nor a certificate")
        return answer.status


def _told(plugin: Exec, cluster: Cluster) -> str:
    """What the program learns of the cluster, and that it may ask nobody."""
    spec: dict[str, object] = {"interactive": False}
    if plugin.provide_cluster_info:
        told = {
            "server": cluster.server,
            "tls-server-name": cluster.tls_server_name,
            "insecure-skip-tls-verify": cluster.insecure_skip_tls_verify or None,
            "certificate-authority-data": cluster.certificate_authority_data or _authority(cluster),
            "proxy-url": cluster.proxy_url,
            "config": next((each.extension for each in cluster.extensions or () if each.name == _EXTENSION), None),
        }
        spec["cluster"] = {name: value for name, value in told.items() if value is not None}
    told_all = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
    return msgspec.json.encode(told_all).decode()


def _authority(cluster: Cluster) -> bytes | None:
    if not cluster.certificate_authority:
        return None
    with contextlib.suppress(OSError), open(cluster.certificate_authority, "rb") as file:
        return file.read()
    return None
