"""The environment of an executor, on its way to it by files: anybody on the machine may read a command line. Pure."""

import json
import re
from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LINE_BYTES = 32 * 1024  # engines read lines of up to 64 KiB

TOKEN = "_TESK_MORE=1"  # noqa: S105  no secret
"""An entry that stands in the container's configuration where `script` puts others."""


def plain(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that every engine reads as they are from a file of lines; the others need another way."""
    return {name: value for name, value in environment.items() if _is_plain(name, value)}


def _is_plain(name: str, value: str) -> bool:
    odd = any(character in value for character in "\n\r") or value[:1] in {'"', "'"}
    return not odd and _NAME.fullmatch(name) is not None and len(value.encode()) < _LINE_BYTES


def lines(environment: Mapping[str, str]) -> str:
    """Return plain variables as the file that `--env-file` names."""
    return "".join(f"{name}={value}\n" for name, value in environment.items())


def script(environment: Mapping[str, str]) -> str:
    """Return the sed script that puts variables in the place of TOKEN in a container's configuration, which is JSON."""
    entries = ",".join(json.dumps(f"{name}={value}", ensure_ascii=False) for name, value in environment.items())
    replacement = re.sub(r"([\\&/])", r"\\\1", entries)
    return f's/"{TOKEN}"/{replacement}/\n'
