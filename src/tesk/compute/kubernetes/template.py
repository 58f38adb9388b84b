"""Merge parts of a pod into a pod, as Kubernetes' strategic merge does. Pure.

Objects are merged, `null` takes a field away, lists are replaced, but for those whose entries have a key of their own
(`containers` by name, `env` by name, ...): there each entry is merged into the one with the same key, or added. An entry
`executor` of `containers` stands for all executors of the task. `$patch: delete` in an entry takes it out, `$patch: replace`
in an object or entry puts it in the place of what was there.
"""

import re
from collections.abc import Mapping

Document = dict[str, object]
"""A manifest, or a part of one: what JSON has."""

_KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "volumes": ("name",),
    "imagePullSecrets": ("name",),
    "resourceClaims": ("name",),
    "schedulingGates": ("name",),
    "env": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    # Of these Kubernetes itself replaces the whole list; ours must stay beside those of a template.
    "tolerations": ("key", "operator", "value", "effect"),
}
"""Lists that are merged, and what tells their entries apart."""

_EVERY_EXECUTOR = "executor"
_EXECUTOR = re.compile(r"executor-\d+\Z")
_DIRECTIVE = "$patch"


def merged(document: Document, patch: Mapping[str, object]) -> Document:
    """Return `document` with `patch` merged in; neither is changed."""
    if patch.get(_DIRECTIVE) == "replace":
        return {key: value for key, value in patch.items() if key != _DIRECTIVE}
    result = dict(document)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _value(key, result.get(key), value)
    return result


def _value(key: str, there: object, patch: object) -> object:
    if isinstance(patch, Mapping):
        return merged(there if isinstance(there, dict) else {}, patch)
    if isinstance(patch, list) and key in _KEYS:
        return _list(key, there if isinstance(there, list) else [], patch)
    return patch


def _list(key: str, there: list[object], patch: list[object]) -> list[object]:
    result = list(there)
    for entry in patch:
        if not isinstance(entry, Mapping):
            result.append(entry)
            continue
        places = _places(key, result, entry)
        if entry.get(_DIRECTIVE) == "delete":
            result = [each for place, each in enumerate(result) if place not in places]
            continue
        for place in places:
            old = result[place]
            assert isinstance(old, dict)
            result[place] = {**merged(old, entry), **{name: old[name] for name in _KEYS[key] if name in old}}
        if not places and not _is_every(key, entry):
            result.append(merged({}, entry))
    return result


def _places(key: str, entries: list[object], patch: Mapping[str, object]) -> list[int]:
    """Where the entries are that a patch means."""
    every = _is_every(key, patch)
    found = []
    for place, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            continue
        keys = _KEYS[key]
        same = all(entry.get(name) == patch.get(name) for name in keys) and any(name in patch for name in keys)
        if same or (every and _EXECUTOR.match(str(entry.get("name")))):
            found.append(place)
    return found


def _is_every(key: str, patch: Mapping[str, object]) -> bool:
    return key == "containers" and patch.get("name") == _EVERY_EXECUTOR
