"""Every example does what its first line says, and the README's commands run as they stand."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.process import PROGRAM, serving

HOUSE = Path(__file__).resolve().parent.parent.parent
EXAMPLES = HOUSE / "examples"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("examples")
    with serving(folder) as url:
        yield url, folder / "files"


def shell(server: tuple[str, Path], line: str) -> str:
    """Run a line as a person would, in the folder that tasks may use, with `tesk` on PATH."""
    url, folder = server
    env = os.environ | {"TESK_SERVER": url, "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}", "NO_COLOR": "1"}
    done = subprocess.run(
        ["sh", "-ec", line], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stderr}"
    return done.stdout


def run(server: tuple[str, Path], name: str) -> Any:
    """Submit an example with this folder for HERE, wait for its end, return it in full."""
    shell(server, f'sed "s,HERE,$PWD," {EXAMPLES}/{name}.yaml | tesk submit - && tesk wait @latest')
    return json.loads(shell(server, "tesk get @latest -o json"))


def test_every_example_is_named_in_this_file() -> None:
    ours = Path(__file__).read_text()
    assert [path.stem for path in EXAMPLES.glob("*.yaml") if f'"{path.stem}"' not in ours] == []


@pytest.mark.parametrize("name", ["hello", "streams", "ignore-error", "limits"])
def test_an_example_without_files_ends_complete(name: str, server: tuple[str, Path]) -> None:
    assert run(server, name)["state"] == "COMPLETE"


def test_the_example_of_a_folder_brings_one_in_and_takes_one_out(server: tuple[str, Path]) -> None:
    folder = server[1] / "in"
    folder.mkdir()
    (folder / "a.txt").write_text("12345")
    run(server, "directory")
    assert (server[1] / "out/a.txt.size").read_text() == "5 a.txt\n"


def test_the_example_of_a_pattern_takes_out_what_fits(server: tuple[str, Path]) -> None:
    run(server, "wildcard")
    assert sorted(path.name for path in (server[1] / "parts").iterdir()) == [f"part-{part}.txt" for part in (1, 2, 3)]


def test_the_readme_can_be_typed_as_it_stands(server: tuple[str, Path]) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", (HOUSE / "README.md").read_text(), re.DOTALL)
    typed = [
        line for block in blocks for line in block.splitlines() if line.startswith("tesk ") and line != "tesk serve"
    ]
    assert len(typed) >= 5
    said = {line: shell(server, line) for line in typed}
    assert said["tesk run -- sh -c 'echo hello'"] == "hello\n"
    assert "hello from" in said["tesk logs @latest"]


SAY = [{"image": "none", "command": ["true"]}]


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"inputs": [{"url": "file:///etc/shadow", "path": "/in/a"}], "executors": SAY}, "tasks may not read here"),
        ({"resources": {"cpu_cores": 10_000}, "executors": SAY}, "Can never run here"),
        ({"outputs": [{"url": "file://HERE/none", "path": "/out/none"}], "executors": SAY}, "no executor has made it"),
        (
            {
                "resources": {"backend_parameters": {"time_limit_seconds": "1"}},
                "executors": [{"image": "none", "command": ["sleep", "60"]}],
            },
            "ran longer than its time limit",
        ),
    ],
)
def test_a_system_error_says_what_the_page_of_errors_explains(task: Any, words: str, server: tuple[str, Path]) -> None:
    (server[1] / "task.json").write_text(json.dumps(task).replace("HERE", str(server[1])))
    shell(server, "tesk submit task.json; tesk wait @latest || test $? = 125")
    found = json.loads(shell(server, "tesk get @latest -o json"))
    assert found["state"] == "SYSTEM_ERROR"
    assert any(words in line for line in found["logs"][-1]["system_logs"])
    assert f"| {words} |" in (HOUSE / "docs/errors.md").read_text()


def test_the_demo_shows_a_whole_task_and_leaves_nothing_running() -> None:  # "two-steps"
    done = subprocess.run(["make", "demo"], cwd=HOUSE, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for part in ("QUEUED", "INITIALIZING", "RUNNING", "COMPLETE", "exit code 0", "Where to look next"):
        assert part in done.stdout
    words = [line.split() for line in (HOUSE / "build/demo/most-used-words.txt").read_text().splitlines()]
    assert len(words) == 10
    port = re.search(r"tesk serve --port (\d+)", done.stdout)
    assert port is not None
    assert subprocess.run(["curl", "-s", f"http://127.0.0.1:{port[1]}/livez"], check=False).returncode == 7
