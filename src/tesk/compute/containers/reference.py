"""What a task may name as its image, and the full name of it. Pure."""

import re

from tesk.errors import CannotRun

_REFERENCE = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*(?::[0-9]+(?=/))?)(?:/[a-z0-9](?:[a-z0-9._-]*))*)"
    r"(?P<tag>:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?"
    r"(?P<digest>@sha256:[0-9a-f]{64})?"
)

# Engines read these as ways to files of the machine, which are none of the task's business.
_TRANSPORTS = frozenset(
    {"containers-storage", "dir", "docker-archive", "docker-daemon", "oci", "oci-archive", "ostree", "sif", "tarball"}
)


def reference(image: str, where: str) -> str:
    """Return the name by which an engine knows an image, `docker://` in front taken off. Raises CannotRun for what is none."""
    named = image.removeprefix("docker://")
    if _REFERENCE.fullmatch(named) is None or named.partition(":")[0] in _TRANSPORTS:
        raise CannotRun(f"{where}: {image!r} is no name of an image such as docker.io/library/debian:12.")
    return named


def full_name(named: str) -> str:
    """Return the name with its registry, as docker understands short ones: `debian` is `docker.io/library/debian`."""
    first, slash, _ = named.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return named
    return f"docker.io/{named}" if slash else f"docker.io/library/{named}"
