"""What the page on the listener shows works as it stands there."""

import asyncio
import json
import re
import subprocess
from pathlib import Path

from fakes.listening import listener_process
from fakes.process import running

PAGE = (Path(__file__).resolve().parent.parent.parent / "docs" / "listener.md").read_text()
SHELL = re.findall(r"```console\n\$ (.*?)\n(.*?)```", PAGE, re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_program_of_the_page_hears_of_the_end_of_its_task(tmp_path):
    names = {}
    exec(PYTHON[0], names)
    with running(tmp_path) as server:
        task = {"executors": [{"image": "none", "command": ["true"]}]}
        assert asyncio.run(names["run"](task, server.url)) == "COMPLETE"


def test_the_commands_of_the_page_answer_as_it_says(tmp_path):
    with listener_process(tmp_path) as listener:
        shown = [(command, said) for command, said in SHELL if command.startswith("curl")]
        assert len(shown) == 2
        for command, said in shown:
            here = command.replace("http://127.0.0.1:8010", listener.url)
            done = subprocess.run(["sh", "-c", here], capture_output=True, text=True, timeout=60, check=True)
            answer, example = json.loads(done.stdout), json.loads(said)
            assert answer.keys() == example.keys()
            if "state" in example:
                assert answer == example
