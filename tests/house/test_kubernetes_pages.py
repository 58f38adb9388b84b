"""What the pages on Kubernetes show can be used as it stands: settings that load and make a pod, tasks that may be sent."""

import re
import tomllib
from pathlib import Path

import pytest
from msgspec import json

from fakes.manifests import ATTEMPT, pod_of
from tesk.caller import Caller
from tesk.cli import documents
from tesk.compute.kubernetes.settled import policy_of
from tesk.compute.kubernetes.submission import Submissions
from tesk.settings import Settings
from tesk.settings.load import load
from tesk.tes.validation import accept

DOCS = Path(__file__).resolve().parent.parent.parent / "docs" / "kubernetes"
PAGE = DOCS / "settings.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", PAGE.read_text())


def loaded(text: str, folder: Path) -> Settings:
    file = folder / "config.toml"
    file.write_text(text)
    return load(environ={}, config=str(file)).settings


@pytest.mark.parametrize("text", blocks("toml"))
def test_the_settings_of_the_page_make_pods(text: str, tmp_path: Path) -> None:
    settings = loaded(text, tmp_path).kubernetes
    policy_of(settings)
    assert pod_of(settings=settings, template=settings.pod_template)["metadata"]["name"] == str(ATTEMPT)


def test_the_task_of_the_page_may_be_sent_with_the_rules_above_it(tmp_path: Path) -> None:
    settings = loaded(blocks("toml")[0], tmp_path)
    policy = policy_of(settings.kubernetes)
    (text,) = [each for each in blocks("yaml") if not each.startswith("# values.yaml\n")]
    (written,) = documents.read(text, "page")
    accepted = accept(json.encode(written.document), parameters=policy.parameters, content_limit_bytes=1 << 20)
    assert Submissions(policy, settings).check(accepted, Caller("bob")) == ()
    assert accepted.task.resources is not None
    assert accepted.task.resources.backend_parameters == {"runtime_class": "gvisor", "pool": "himem"}


@pytest.mark.parametrize("patch", re.findall(r"(?m)^\| [^|]+ \| `(\{ .* \})`", PAGE.read_text()))
def test_every_patch_of_the_table_is_one(patch: str, tmp_path: Path) -> None:
    rule = f'[[kubernetes.parameters]]\nname = "it"\npatch = {patch}\n'
    assert tomllib.loads(rule)
    assert "it" in policy_of(loaded(rule, tmp_path).kubernetes).parameters
