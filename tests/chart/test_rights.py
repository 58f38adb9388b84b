"""The chart's Role grants what the server asks for, and nothing else."""

import itertools
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tesk.compute.kubernetes.objects import Rule
from tesk.compute.kubernetes.rights import ALWAYS, WITH_QUEUE, role_rules

ROOT = Path(__file__).parents[2]

needs_helm = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not here, which makes objects of a chart")

PLAIN = {"settings": {"kubernetes": {"parameters": [{"name": "queues", "patch": {"spec": {"hostname": "queue"}}}]}}}
QUEUES = [
    {"settings": {"kubernetes": {"queue": "batch"}}},
    {"settings": {"kubernetes": {"parameters": [{"name": "q", "patch": {"queue": "$value"}}]}}},
    {"settings": {"kubernetes": {"preemptible": {"queue": "spot"}}}},
]


def granted(values: dict) -> set[Rule]:
    done = subprocess.run(
        [
            "helm",
            "template",
            "tesk",
            ROOT / "chart",
            *(f"--set-json={key}={json.dumps(part)}" for key, part in values.items()),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    objects = [each for each in yaml.safe_load_all(done.stdout) if each]
    [role] = [each for each in objects if (each["kind"], each["metadata"]["name"]) == ("Role", "tesk")]
    return set(itertools.chain.from_iterable(map(rules_of, role["rules"])))


def rules_of(rule: dict) -> list[Rule]:
    return [
        Rule(verb, resource.partition("/")[0], group, resource.partition("/")[2])
        for group, resource, verb in itertools.product(rule["apiGroups"], rule["resources"], rule["verbs"])
    ]


@needs_helm
def test_the_role_of_the_chart_has_the_rights_that_are_used_and_no_other():
    assert granted(PLAIN) == set(ALWAYS)


@needs_helm
@pytest.mark.parametrize("values", QUEUES, ids=["for all", "by a parameter", "for preemptible tasks"])
def test_with_a_queue_it_may_make_jobs_too(values):
    assert granted(values) == {*ALWAYS, *WITH_QUEUE}


def test_the_role_of_the_page_on_security_has_the_same():
    page = (ROOT / "docs/kubernetes/security.md").read_text()
    [role] = [
        document
        for block in page.split("```yaml\n")[1:]
        for document in yaml.safe_load_all(block.partition("```")[0])
        if document["kind"] == "Role"
    ]
    assert [rule for each in role["rules"] for rule in rules_of(each)] == list(ALWAYS)
    assert [rule for each in role_rules(ALWAYS) for rule in rules_of(each)] == list(ALWAYS)
