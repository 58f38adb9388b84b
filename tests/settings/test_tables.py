"""Settings that are tables themselves: of names and values, and parts of pods."""

import json
from pathlib import Path

import pytest

from tesk.errors import SettingsError
from tesk.settings import ParameterRule
from tesk.settings.load import load
from tesk.settings.reference import reference

RULES = """
[kubernetes.namespaces]
alice = "alice-tasks"
"bob@example.org" = "bobs"

[[kubernetes.parameters]]
name = "priority"
values = ["low", "high"]
patch = { spec = { priorityClassName = "$value" } }

[[kubernetes.parameters]]
name = "spot"
[kubernetes.parameters.patch.spec]
tolerations = [{ key = "spot", operator = "Exists" }]
"""


def test_a_file_has_tables_of_names_and_of_parts_of_pods(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(RULES)
    cluster = load(environ={}, config=str(file)).settings.kubernetes
    assert cluster.namespaces == {"alice": "alice-tasks", "bob@example.org": "bobs"}
    assert cluster.parameters == (
        ParameterRule(name="priority", values=("low", "high"), patch={"spec": {"priorityClassName": "$value"}}),
        ParameterRule(name="spot", patch={"spec": {"tolerations": [{"key": "spot", "operator": "Exists"}]}}),
    )


def test_a_variable_has_them_in_json() -> None:
    rules = [{"name": "x", "patch": {"spec": {"priority": 1}}}]
    loaded = load(
        environ={
            "TESK_KUBERNETES_NAMESPACES": '{"alice": "a"}',
            "TESK_KUBERNETES_PARAMETERS": json.dumps(rules),
            "TESK_KUBERNETES_PREEMPTIBLE": '{"spec": {}}',
        }
    ).settings.kubernetes
    assert loaded.namespaces == {"alice": "a"}
    assert loaded.parameters == (ParameterRule(name="x", patch={"spec": {"priority": 1}}),)
    assert loaded.preemptible == {"spec": {}}


@pytest.mark.parametrize("text", ["alice=a", "{", "[]"])
def test_what_is_no_table_is_said_to_be_none(text: str) -> None:
    with pytest.raises(SettingsError, match=r"TESK_KUBERNETES_NAMESPACES: kubernetes\.namespaces = .* must be table"):
        load(environ={"TESK_KUBERNETES_NAMESPACES": text})


def test_the_reference_names_the_type_and_the_default() -> None:
    known = {setting.key: setting for setting in reference()}
    assert (known["kubernetes.namespaces"].type, known["kubernetes.namespaces"].default) == ("table", "{}")
