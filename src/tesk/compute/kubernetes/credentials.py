"""Who we are to a cluster and where it is: from inside a pod, or by a kubeconfig. What rotates is read again.

A secret is never part of an error or of what `repr` shows.
"""

import asyncio
import base64
import binascii
import contextlib
import logging
import math
import os
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from tesk.compute.kubernetes import kubeconfig
from tesk.compute.kubernetes.exec_plugin import Plugin
from tesk.compute.kubernetes.kubeconfig import Chosen, Cluster, User
from tesk.compute.kubernetes.proxy import proxy_for
from tesk.errors import BackendUnavailable, StartError

_log = logging.getLogger(__name__)

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""What the kubelet mounts into a pod that has a service account."""
_LOOK_SECONDS = 60.0
_CLOCK: Callable[[], float] = time.monotonic


class Proof:
    """What one request shows: a token, or a client's certificate in the TLS context. None: plain HTTP."""

    __slots__ = ("context", "token")

    def __init__(self, token: str | None, context: ssl.SSLContext | None) -> None:
        self.token = token
        self.context = context


class Given(Protocol):
    """What is shown now: a token, a certificate with its key (PEM)."""

    @property
    def token(self) -> str | None: ...
    @property
    def certificate(self) -> bytes | None: ...
    @property
    def key(self) -> bytes | None: ...


class Words:
    """What is shown, as it was read."""

    __slots__ = ("certificate", "key", "token")

    def __init__(self, token: str | None = None, certificate: bytes | None = None, key: bytes | None = None) -> None:
        self.token = token
        self.certificate = certificate
        self.key = key


class Access:
    """A cluster as we reach it.

    `server` has no slash at its end; `namespace` is the one that is meant where none is named; `headers` are shown with
    each request (impersonation); `inside`: we are in a pod of that cluster.
    """

    def __init__(
        self,
        cluster: Cluster,
        user: User,
        namespace: str,
        *,
        inside: bool = False,
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = _CLOCK,
    ) -> None:
        """Raise StartError where it cannot work as it is told."""
        parts = urlsplit(cluster.server)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise StartError(f"{cluster.server!r} is no address of an API server: https://host:port is")
        _refuse(user)
        self.server = cluster.server.rstrip("/")
        self.namespace = namespace
        self.inside = inside
        self.server_hostname = cluster.tls_server_name or None
        self.proxy = proxy_for(cluster.server, cluster.proxy_url, environment)
        self.headers = _impersonation(user)
        self._secure = parts.scheme == "https"
        self._cluster = cluster
        self._user = user
        self._clock = clock
        self._plugin = Plugin(user.exec, cluster, environment, clock) if user.exec is not None else None
        self._lock = asyncio.Lock()
        self._seen: tuple[object, ...] = ()
        self._looked = -math.inf
        self._proof = Proof(None, None)

    def __repr__(self) -> str:
        return f"Access({self.server!r}, namespace={self.namespace!r})"

    async def proof(self, refused: Proof | None = None) -> Proof:
        """Return what to show now; files are looked at each minute, or where `refused` was shown and did not do.

        The same object again means: nothing is newer. Raises BackendUnavailable.
        """
        if self._fresh() and self._proof is not refused:
            return self._proof
        async with self._lock:
            if self._fresh() and self._proof is not refused:
                return self._proof  # who had the lock before us has looked already
            try:
                return await self._look(again=refused is not None)
            except BackendUnavailable as error:
                if refused is not None or not self._seen:
                    raise
                _log.warning("what is shown to %s cannot be renewed, the old one is: %s", self.server, error)
                self._looked = self._clock()
                return self._proof

    def _fresh(self) -> bool:
        looked = self._clock() - self._looked < _LOOK_SECONDS
        return looked and (self._plugin is None or self._plugin.good())

    async def _look(self, *, again: bool) -> Proof:
        given: Given = self._given()
        if self._plugin is not None:
            given = await self._plugin.credential(again=again)
        seen = (given.token, given.certificate, given.key, self._authority())
        if seen != self._seen:
            # As long as certificates are the same, connections are kept.
            same = self._seen and seen[1:] == self._seen[1:]
            self._proof = Proof(given.token or None, self._proof.context if same else self._context(given, seen[3]))
            self._seen = seen
        self._looked = self._clock()
        return self._proof

    def _given(self) -> Given:
        user = self._user
        token = user.token
        if user.token_file:
            # kubectl: the file wins, the token is for as long as there is none.
            token = _file(user.token_file, "token", or_else=token)
        certificate = _data(user.client_certificate_data, "client-certificate-data")
        if certificate is None and user.client_certificate:
            certificate = _file(user.client_certificate, "client certificate").encode()
        key = _data(user.client_key_data, "client-key-data")
        if key is None and user.client_key:
            key = _file(user.client_key, "key of the client certificate").encode()
        return Words(token, certificate, key)

    def _authority(self) -> bytes | None:
        if not self._secure or self._cluster.insecure_skip_tls_verify:
            return None
        data = _data(self._cluster.certificate_authority_data, "certificate-authority-data")
        if data is None and self._cluster.certificate_authority:
            data = _file(self._cluster.certificate_authority, "certificate of the cluster").encode()
        return data

    def _context(self, given: Given, authority: object) -> ssl.SSLContext | None:
        if not self._secure:
            return None
        try:
            context = ssl.create_default_context(
                cadata=authority.decode("ascii", "ignore") if isinstance(authority, bytes) else None
            )
        except ssl.SSLError as error:
            raise BackendUnavailable(f"the certificate authority of {self.server} cannot be read: {error}") from None
        # Python 3.13 asks for extensions that the authorities of many clusters do not have.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if self._cluster.insecure_skip_tls_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if given.certificate is not None:
            try:
                _show(context, given.certificate, given.key or given.certificate)
            except (ssl.SSLError, OSError) as error:
                reason = getattr(error, "reason", None) or error.strerror or "unknown"
                raise BackendUnavailable(
                    f"the client certificate for {self.server} and its key do not go together: {reason}"
                ) from None
        return context


def find(
    paths: str = "",
    context: str = "",
    *,
    environment: Mapping[str, str] = os.environ,
    account: Path = ACCOUNT,
    clock: Callable[[], float] = _CLOCK,
) -> Access:
    """Return the cluster that is meant. Raises StartError with a sentence.

    `paths`, else the variable KUBECONFIG: files, with ":" between them, of which some may not be there; else
    ~/.kube/config; else the cluster in whose pod we are.
    """
    named = paths or environment.get("KUBECONFIG", "")
    home = Path(environment.get("HOME") or "/")
    places = [Path(each).expanduser() for each in named.split(":") if each] or [home / ".kube/config"]
    files = [kubeconfig.read(place, text) for place in places if (text := _kubeconfig(place)) is not None]
    if files:
        found: Chosen = kubeconfig.chosen(files, context)
        return Access(found.cluster, found.user, found.namespace, environment=environment, clock=clock)
    if named:
        raise StartError(f"there is no kubeconfig at {named}")
    if context:
        raise StartError(f"there is no kubeconfig that could have a context {context!r}")
    return _inside(environment, account, clock)


def _inside(environment: Mapping[str, str], account: Path, clock: Callable[[], float]) -> Access:
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (account / "token").exists():
        raise StartError(
            "no cluster is known: set KUBECONFIG or the setting kubernetes.kubeconfig, or run in a pod with a service account"
        )
    namespace = "default"
    with contextlib.suppress(OSError):
        namespace = (account / "namespace").read_text().strip() or namespace
    return Access(
        Cluster(
            server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
            certificate_authority=str(account / "ca.crt"),
        ),
        User(token_file=str(account / "token")),
        namespace,
        inside=True,
        environment=environment,
        clock=clock,
    )


def _kubeconfig(place: Path) -> bytes | None:
    try:
        return place.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StartError(f"the kubeconfig {place} cannot be read: {error.strerror}") from None


def _refuse(user: User) -> None:
    if user.username:
        raise StartError("the kubeconfig has a user name and password: no API server takes them any more")
    if user.auth_provider is not None:
        raise StartError("the kubeconfig has an auth-provider, which is no longer supported: use an exec plugin")
    if user.exec is not None and user.exec.interactive_mode == "Always":
        raise StartError(f"{user.exec.command} wants to ask a person (interactiveMode: Always), and here is none")


def _impersonation(user: User) -> Sequence[tuple[str, str]]:
    headers = []
    if user.impersonate:
        headers.append(("Impersonate-User", user.impersonate))
    if user.impersonate_uid:
        headers.append(("Impersonate-Uid", user.impersonate_uid))
    headers += [("Impersonate-Group", group) for group in user.impersonate_groups or ()]
    headers += [
        (f"Impersonate-Extra-{name}", value)
        for name, values in (user.impersonate_extra or {}).items()
        for value in values
    ]
    return tuple(headers)


def _file(path: str, what: str, *, or_else: str | None = None) -> str:
    try:
        text = Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        if or_else:
            return or_else
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise BackendUnavailable(f"the {what} {path} cannot be read: {reason}") from None
    return text or or_else or ""


def _data(data: str | None, what: str) -> bytes | None:
    if not data:
        return None
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error:
        raise BackendUnavailable(f"{what} of the kubeconfig is not base64") from None


def _show(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Have `context` show a certificate. OpenSSL reads files only: these are in memory, gone when closed."""
    with _in_memory(certificate) as certificate_path, _in_memory(key) as key_path:
        # A key with a password would have OpenSSL ask at the terminal.
        context.load_cert_chain(certificate_path, key_path, password=lambda: b"")


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    number = os.memfd_create("tesk", os.MFD_CLOEXEC)
    try:
        os.write(number, data)
        yield f"/proc/self/fd/{number}"
    finally:
        os.close(number)
