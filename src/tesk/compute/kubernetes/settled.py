"""Fill in what the settings of the cluster leave open, as far as it can be known without asking the cluster."""

import hashlib
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

from msgspec.structs import replace

from tesk.compute.kubernetes.policy import Policy
from tesk.errors import StartError
from tesk.settings import KubernetesSettings, Settings

_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def settled(settings: Settings) -> KubernetesSettings:
    """Return the settings of the cluster with a `server_id`. Raises StartError for one that can be no label.

    Servers with one PostgreSQL database are one installation; SQLite belongs to a machine and a file.
    """
    cluster = settings.kubernetes
    if not cluster.server_id:
        parts = urlsplit(settings.database)
        place = f"{parts.hostname}:{parts.port or 5432}{parts.path}" if parts.hostname else _file(settings)
        cluster = replace(cluster, server_id=f"tesk-{hashlib.sha256(place.encode()).hexdigest()[:12]}")
    if not _LABEL.fullmatch(cluster.server_id):
        raise StartError(
            f"kubernetes.server_id: {cluster.server_id!r} cannot be a label: up to 63 letters, digits, '-', '_' and '.'"
        )
    return cluster


def doctors_id(server_id: str) -> str:
    """Return the `server_id` of the pods that an installation's doctor tries, which are no task's."""
    return f"{server_id[:56]}-doctor"


def policy_of(settings: KubernetesSettings) -> Policy:
    """Return the policy, with the pod template read from its file where the settings name one. Raises StartError."""
    text = settings.pod_template
    if text.startswith(("/", "~")) and "\n" not in text:
        try:
            text = Path(text).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StartError(f"kubernetes.pod_template: {text} cannot be read: {error}") from error
    return Policy(settings, text)


def _file(settings: Settings) -> str:
    path = Path(settings.database or Path(settings.data_dir) / "tesk.db").expanduser().absolute()
    return f"{socket.gethostname()}:{path}"
