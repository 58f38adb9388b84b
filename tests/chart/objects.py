"""What helm makes of the chart, as objects."""

import functools
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "chart"

needs_helm = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not here, which makes objects of a chart")


def helm(*arguments):
    return subprocess.run(["helm", *arguments], capture_output=True, text=True, check=False)


@functools.cache
def made(*arguments):
    """All objects, by kind and name."""
    done = helm("template", "tesk", str(CHART), "--namespace", "here", *arguments)
    assert done.returncode == 0, done.stderr
    found = yaml.load_all(done.stdout, yaml.CSafeLoader)
    return {(each["kind"], each["metadata"]["name"]): each for each in found if each}


def config_of(objects):
    return json.loads(objects["Secret", "tesk-config"]["stringData"]["config.json"])
