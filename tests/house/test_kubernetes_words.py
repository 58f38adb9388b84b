"""The pages on Kubernetes quote what is there: sentences of the source, tests, values of the chart, tasks that may be sent."""

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tesk.cli import documents
from tesk.tes.validation import accept

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs/kubernetes"
PAGES = sorted(DOCS.glob("*.md"))
TRAPS = (DOCS / "traps.md").read_text()
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
}


def said() -> str:
    """All texts of the source, each on a line; of those with something filled in, the parts."""
    trees = (ast.parse(path.read_text()) for path in (ROOT / "src/tesk").rglob("*.py"))
    nodes = (node for tree in trees for node in ast.walk(tree))
    return "\n".join(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def stands(part: str) -> bool:
    """Say whether words stand in the source, together or as two parts that follow each other."""
    cuts = [match.start() for match in re.finditer(" ", part)]
    return part in SAID or any(part[:cut] in SAID and part[cut:].strip() in SAID for cut in cuts)


SAID = said()
KUBERNETES = re.compile(
    r"ErrImagePull|ImagePullBackOff|InvalidImageName|ErrImageNeverPull|CreateContainer(Config)?Error|exceeded quota"
)
"""Words that are the cluster's own."""


def sentences() -> list[str]:
    """What stands in the first column of the tables of the page on troubles."""
    page = (DOCS / "troubleshooting.md").read_text()
    cells = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| ") and "|---" not in line]
    quoted = (re.findall(r"`((?:\\`|[^`])+)`", cell.split("(the scheduler's)")[-1]) for cell in cells)
    return [each.replace("\\`", "`") for found in quoted for each in found]


@pytest.mark.parametrize("sentence", sentences())
def test_what_the_page_on_troubles_quotes_is_said_so_in_the_source(sentence: str) -> None:
    parts = [part.strip() for part in re.split(r"\.\.\.", KUBERNETES.sub("...", sentence))]
    assert [part for part in parts if not stands(part)] == []


@pytest.mark.parametrize("module", ["cluster", "pod_status", "results", "troubles"])
def test_what_the_source_says_of_pods_stands_on_the_page_on_troubles(module: str) -> None:
    page = (DOCS / "troubleshooting.md").read_text()
    tree = ast.parse((ROOT / f"src/tesk/compute/kubernetes/{module}.py").read_text())
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in alone]
    sentences = [text.strip() for text in texts if isinstance(text, str) and re.match(r"[A-Z]\w* \w+ \w+", text)]
    assert [sentence for sentence in sentences if sentence not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"`(test_\w+)`", text)) <= TESTS
    assert [path for path in re.findall(r"`(tests/[\w/.]+)`", text) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("number", range(1, 24))
def test_every_trap_has_a_test(number: int) -> None:
    (section,) = re.findall(rf"(?ms)^## {number}\. .*?(?=^## |\Z)", TRAPS)
    assert re.findall(r"`test_\w+`", section)


def blocks(page: Path) -> list[str]:
    return re.findall(r"(?ms)^```yaml\n(.*?)^```", page.read_text())


VALUES = [(page.stem, text) for page in PAGES for text in blocks(page) if text.startswith("# values.yaml\n")]


@pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not here, which makes objects of a chart")
@pytest.mark.parametrize(("page", "text"), VALUES, ids=[f"{page}-{n}" for n, (page, _) in enumerate(VALUES)])
def test_the_values_of_a_page_make_a_chart_whose_settings_load(page: str, text: str, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(text.replace('passwordHash: "..."', "passwordHash: scrypt"))
    done = subprocess.run(
        ["helm", "template", "tesk", ROOT / "chart", "--values", values], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (config,) = [
        json.loads(each["stringData"]["config.json"])
        for each in yaml.safe_load_all(done.stdout)
        if each and each["kind"] == "Secret" and "config.json" in each.get("stringData", {})
    ]
    assert config["backend"] == "kubernetes"


def test_the_task_of_the_page_on_s3_may_be_sent() -> None:
    (text,) = [each for each in blocks(DOCS / "s3.md") if not each.startswith("# values.yaml\n")]
    (written,) = documents.read(text, "page")
    accept(json.dumps(written.document).encode(), parameters=frozenset(), content_limit_bytes=1 << 20)
