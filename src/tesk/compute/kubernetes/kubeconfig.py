"""What a kubeconfig says, merged from several files as kubectl does. Pure: texts in, values out.

https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/: the first file to set a value or
an entry of a name wins, whole; relative paths are relative to the file that they stand in.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from tesk.errors import StartError


class Extension(Struct, frozen=True):
    """What others keep in a kubeconfig. The one of a cluster that exec plugins are told is found by its name."""

    name: str = ""
    extension: object = None


class Cluster(Struct, frozen=True, rename="kebab"):
    """Where an API server is, and how it is known."""

    server: str = ""
    tls_server_name: str | None = None
    insecure_skip_tls_verify: bool = False
    certificate_authority: str | None = None
    certificate_authority_data: str | None = None
    proxy_url: str | None = None
    extensions: list[Extension] | None = None


class Variable(Struct, frozen=True):
    """A variable of an exec plugin's environment."""

    name: str
    value: str = ""


class Exec(Struct, frozen=True, rename="camel"):
    """A program that says who we are. https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins."""

    command: str
    api_version: str = ""
    args: list[str] | None = None
    env: list[Variable] | None = None
    install_hint: str = ""
    provide_cluster_info: bool = False
    interactive_mode: str = ""


class User(Struct, frozen=True, rename="kebab"):
    """Who we are: a certificate, a token, a program that gives either. Nothing in it is ever shown."""

    client_certificate: str | None = None
    client_certificate_data: str | None = None
    client_key: str | None = None
    client_key_data: str | None = None
    token: str | None = None
    token_file: str | None = field(name="tokenFile", default=None)
    exec: Exec | None = None
    username: str | None = None
    auth_provider: object = None
    impersonate: str | None = field(name="as", default=None)
    impersonate_uid: str | None = field(name="as-uid", default=None)
    impersonate_groups: list[str] | None = field(name="as-groups", default=None)
    impersonate_extra: dict[str, list[str]] | None = field(name="as-user-extra", default=None)

    def __repr__(self) -> str:
        return "User(...)"


class Context(Struct, frozen=True):
    """A cluster, a user, a namespace."""

    cluster: str = ""
    user: str = ""
    namespace: str | None = None


class NamedCluster(Struct, frozen=True):
    """An entry of `clusters`."""

    name: str
    cluster: Cluster | None = None


class NamedUser(Struct, frozen=True):
    """An entry of `users`."""

    name: str
    user: User | None = None


class NamedContext(Struct, frozen=True):
    """An entry of `contexts`."""

    name: str
    context: Context | None = None


class Kubeconfig(Struct, frozen=True, rename={"current_context": "current-context"}):
    """One file."""

    clusters: list[NamedCluster] | None = None
    users: list[NamedUser] | None = None
    contexts: list[NamedContext] | None = None
    current_context: str | None = None


class Chosen(Struct, frozen=True):
    """One context of all the files, resolved. `folder` of a path is that of its file."""

    cluster: Cluster
    user: User
    namespace: str


def read(path: Path, text: bytes) -> Kubeconfig:
    """Read one file, with its paths made absolute. Raises StartError."""
    try:
        found = msgspec.yaml.decode(text or b"{}", type=Kubeconfig | None) or Kubeconfig()
    except msgspec.ValidationError as error:
        raise StartError(f"{path} is no kubeconfig: {error}") from None
    except msgspec.DecodeError:
        # The parser quotes the line that it does not understand, and a token may stand in it.
        raise StartError(f"{path} is no kubeconfig: it is not YAML") from None
    folder = path.absolute().parent
    return Kubeconfig(
        clusters=[
            NamedCluster(each.name, _cluster_in(each.cluster, folder) if each.cluster else None)
            for each in found.clusters or ()
        ],
        users=[NamedUser(each.name, _user_in(each.user, folder) if each.user else None) for each in found.users or ()],
        contexts=found.contexts,
        current_context=found.current_context,
    )


def chosen(files: Sequence[Kubeconfig], context: str = "") -> Chosen:
    """Return what `context`, else the first current context, names. Raises StartError with a sentence."""
    clusters: dict[str, Cluster | None] = {}
    users: dict[str, User | None] = {}
    contexts: dict[str, Context | None] = {}
    for file in files:
        for cluster in file.clusters or ():
            clusters.setdefault(cluster.name, cluster.cluster)
        for user in file.users or ():
            users.setdefault(user.name, user.user)
        for each in file.contexts or ():
            contexts.setdefault(each.name, each.context)
    wanted = context or next((file.current_context for file in files if file.current_context), "")
    there = ", ".join(sorted(contexts)) or "none"
    if not wanted:
        raise StartError(f"no context of the kubeconfig is current: name one of them (there are: {there})")
    if (found := contexts.get(wanted)) is None:
        raise StartError(f"the kubeconfig has no context {wanted!r} (there are: {there})")
    if (cluster_found := clusters.get(found.cluster)) is None or not cluster_found.server:
        raise StartError(
            f"context {wanted!r} names the cluster {found.cluster!r}, of which the kubeconfig says no server"
        )
    if found.user and found.user not in users:
        raise StartError(f"context {wanted!r} names the user {found.user!r}, whom the kubeconfig does not have")
    return Chosen(cluster_found, users.get(found.user) or User(), found.namespace or "default")


def _cluster_in(cluster: Cluster, folder: Path) -> Cluster:
    return replace(cluster, certificate_authority=_below(folder, cluster.certificate_authority))


def _user_in(user: User, folder: Path) -> User:
    plugin = user.exec
    if plugin is not None and "/" in plugin.command:
        plugin = replace(plugin, command=str(folder / plugin.command))
    return replace(
        user,
        client_certificate=_below(folder, user.client_certificate),
        client_key=_below(folder, user.client_key),
        token_file=_below(folder, user.token_file),
        exec=plugin,
    )


def _below(folder: Path, path: str | None) -> str | None:
    return str(folder / path) if path else None
