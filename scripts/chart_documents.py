"""Write what the chart says of itself, chart/values.schema.json and chart/README.md, from values.yaml and the settings.

With `--check` nothing is written; ends with 1 where a document is not as it would be written.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import yaml

from tesk.settings import Settings

CHART = Path(__file__).parent.parent / "chart"
_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_OBJECTS = {"type": "array", "items": {"type": "object"}}
_TRUTH = {"type": "boolean"}
_NAME = {"type": "string", "minLength": 1}
_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST = rf"{_LABEL}(\.{_LABEL})*"


def _like(pattern: str, *, optional: bool = True) -> dict[str, object]:
    """A text of a form. What a name, an amount or a network must be for Kubernetes is seen here, not by a server that fails."""
    return {"type": "string", "pattern": f"^({pattern}){'?' * optional}$"}


def _each_like(pattern: str) -> dict[str, object]:
    return {"type": "array", "items": _like(pattern, optional=False)}


_NAMESPACE, _OBJECT = _like(_LABEL), _like(_HOST)
_IMAGE = _like("[A-Za-z0-9][A-Za-z0-9._/:@-]*")
_QUANTITY = {
    "type": ["string", "number"],
    "pattern": r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)(m|[kMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?$",
    "minimum": 0,
}
_AMOUNTS = {"type": "object", "additionalProperties": _QUANTITY}
_RESOURCES = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"requests": _AMOUNTS, "limits": _AMOUNTS, "claims": {"type": "array"}},
}
_NETWORK = "[0-9A-Fa-f:.]+/[0-9]{1,3}"
_WEB = _like("https?://[^ ]+")
_ANYTHING = {"type": ["object", "array", "string", "number", "boolean", "null"]}


def _person(secret: str) -> dict[str, object]:
    return {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["name", secret],
            "additionalProperties": False,
            "properties": {"name": _NAME, secret: _NAME, "admin": _TRUTH, "readsOnly": _TRUTH},
        },
    }


# What a default alone does not tell.
_KNOWN: dict[str, dict[str, object]] = {
    "image.pullPolicy": {"enum": ["IfNotPresent", "Always", "Never"]},
    "image.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "stagerImage.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "image.repository": _IMAGE,
    "stagerImage.repository": _IMAGE,
    "image.tag": _like("[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"),
    "stagerImage.tag": _like("[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"),
    "imagePullSecrets": _each_like(_HOST),
    "nameOverride": _NAMESPACE,
    "fullnameOverride": _NAMESPACE,
    "auth.token.existingSecret": _OBJECT,
    "tasks.namespace": _NAMESPACE,
    "tasks.serviceAccount.name": _OBJECT,
    "serviceAccount.name": _OBJECT,
    "priorityClassName": _OBJECT,
    "resources": _RESOURCES,
    "controllers.resources": _RESOURCES,
    "listener.resources": _RESOURCES,
    "monitoring.serviceMonitor.interval": _like("([0-9]+(ms|[smhdwy]))+"),
    "test.image": _IMAGE,
    "replicas": {"type": "integer", "minimum": 0},
    "listener.existingSecret": _OBJECT,
    **{
        f"{of}{key}": like
        for of in ("", "listener.")
        for key, like in {
            "database.existingSecret": _OBJECT,
            "database.url": {"type": "string", "pattern": "^(postgres(ql)?://.+)?$"},
            "persistence.existingClaim": _OBJECT,
            "persistence.storageClass": _OBJECT,
            "persistence.size": _QUANTITY,
            "persistence.accessModes": _TEXTS,
            "service.type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
            "service.port": {"type": "integer", "minimum": 1, "maximum": 65535},
            "service.nodePort": {"type": ["integer", "null"], "minimum": 1, "maximum": 65535},
            "ingress.hosts": _each_like(rf"(\*\.)?{_HOST}"),
        }.items()
    },
    "secretSettings": {
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "required": ["secret", "key"],
            "additionalProperties": False,
            "properties": {"secret": _like(_HOST, optional=False), "key": _NAME},
        },
    },
    "auth.users": _person("passwordHash"),
    "auth.tokens": _person("tokenHash"),
    "persistence.handOver": {"enum": ["auto", "always", "never"]},
    "tasks.otherNamespaces": _each_like(_LABEL),
    "tasks.networkPolicy.apiServer": _each_like("[0-9A-Fa-f:.]+(/[0-9]{1,3})?"),
    "tasks.networkPolicy.denied": _each_like(_NETWORK),
    "tasks.networkPolicy.deniedIPv6": _each_like(_NETWORK),
    "gateway.hostnames": _each_like(rf"(\*\.)?{_HOST}"),
    "podDisruptionBudget.maxUnavailable": {"type": ["integer", "string"]},
    "extraObjects": {"type": "array", "items": {"type": ["object", "string"]}},
}
# The same of settings, by their struct.
_OF_SETTINGS: dict[str, dict[str, dict[str, object]]] = {
    "KubernetesSettings": {
        "namespace": _NAMESPACE,
        "namespaces": {"type": "object", "additionalProperties": _like(_LABEL, optional=False)},
        "server_id": _like("[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"),
        "stager_image": _IMAGE,
        "pull_secrets": _each_like(_HOST),
        "service_account": _OBJECT,
        "storage_class": _OBJECT,
        "gpu_resource": _like(rf"{_HOST}/[A-Za-z0-9._-]+"),
        "queue": _OBJECT,
        "identity_endpoint": _WEB,
    },
    "TagNamespace": {"namespace": _like(_LABEL, optional=False)},
    "S3Bucket": {"endpoint": _WEB},
    "GsBucket": {"endpoint": _WEB},
    "AzContainer": {"endpoint": _WEB},
    "DefaultsSettings": {"image": _IMAGE},
}
# Objects of Kubernetes, whose fields are its own.
_FREE = frozenset({"podSecurityContext", "securityContext", "monitoring.dashboard.labels"})


def documents() -> dict[Path, str]:
    """Return the text of each document."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    values = yaml.safe_load(text)
    says = _comments(text)
    settings, definitions = _settings()
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Values of the TESK chart",
        **_schema(values, "", says, settings),
        "$defs": definitions,
    }
    # Helm gives charts that are part of another one these, too.
    schema["properties"] |= {"global": {"type": "object"}, "enabled": _TRUTH}
    return {
        CHART / "values.schema.json": json.dumps(schema, indent=1) + "\n",
        CHART / "README.md": _readme(values, says),
    }


def _settings() -> tuple[dict[str, object], dict[str, object]]:
    """The schema of the server's settings, where nothing is required and nothing unknown is let in."""
    (schema,), definitions = msgspec.json.schema_components(
        [Settings], schema_hook=lambda _: _ANYTHING, ref_template="#/$defs/{name}"
    )
    for name, definition in definitions.items():
        properties = definition.get("properties", {})
        for field in properties.values():
            field.pop("default", None)
        for field, known in _OF_SETTINGS.get(name, {}).items():
            properties[field] |= known
    return schema, definitions


def _schema(value: object, key: str, says: dict[str, str], settings: dict[str, object]) -> dict[str, object]:
    described = {"description": says[key]} if key in says else {}
    if key == "settings":
        return {**settings, **described}
    if key in _KNOWN:
        return {**_KNOWN[key], **described}
    match value:
        case dict() if value and key not in _FREE:
            return {
                "type": "object",
                **described,
                "additionalProperties": False,
                "properties": {
                    name: _schema(inner, f"{key}.{name}".lstrip("."), says, settings) for name, inner in value.items()
                },
            }
        case dict():
            return {"type": "object", **described}
        case bool():
            return {**_TRUTH, **described}
        case int():
            return {"type": "integer", "minimum": 0, **described}
        case list():
            return {**_OBJECTS, **described}
        case str():
            return {**_TEXT, **described}
    raise TypeError(f"{key}: {value!r}")


def _comments(text: str) -> dict[str, str]:
    """The sentence above each key that begins with `-- `."""
    says: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    sentence = ""
    for line in text.splitlines():
        bare = line.strip()
        if bare.startswith("# -- "):
            sentence = bare[5:]
            continue
        name, colon, _ = bare.partition(":")
        if not colon or bare.startswith(("#", "-")):
            sentence = "" if not bare else sentence
            continue
        depth = len(line) - len(line.lstrip())
        above = [(deep, part) for deep, part in above if deep < depth] + [(depth, name)]
        if sentence:
            says[".".join(part for _, part in above)] = sentence
        sentence = ""
    return says


def _rows(values: dict[str, object], says: dict[str, str], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        key = prefix + name
        if isinstance(value, dict) and value and key not in _FREE and not key.endswith(("labels", "resources")):
            yield from _rows(value, says, key + ".")
        else:
            yield f"| `{key}` | `{json.dumps(value)}` | {says.get(key, '')} |".replace("  ", " ")


def _readme(values: dict[str, object], says: dict[str, str]) -> str:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    return f"""<!-- Written by scripts/chart_documents.py: change values.yaml, or that. -->
# {chart["name"]}

{chart["description"]}.

```sh
helm install tesk chart/ --namespace tesk --create-namespace
helm test tesk --namespace tesk --logs
helm uninstall tesk --namespace tesk    # with the tasks that run, and the claim of SQLite
```

Wants Kubernetes {chart["kubeVersion"].removesuffix("-0")}. With 1.35 or newer (image volumes) tasks start a second sooner.
The documentation says more: installation on kind, on a real cluster, with S3; upgrades; sizes; what to do when something
does not run.

## Values

An unknown or wrong value is refused with words. What the server itself can be set to stands under `settings`, by the
names of its own reference (`tesk config` prints it).

| value | default | |
|---|---|---|
{chr(10).join(_rows(values, says))}
"""


def main() -> int:
    """Write, or check."""
    wrong = 0
    for path, text in documents().items():
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            print(f"{path.name} is not as scripts/chart_documents.py writes it: run it", file=sys.stderr)
            wrong = 1
    return wrong


if __name__ == "__main__":
    sys.exit(main())
