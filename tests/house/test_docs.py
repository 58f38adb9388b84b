"""The documentation builds, and what it shows is there."""

import subprocess
import sys
from pathlib import Path

from tesk.settings.reference import reference

HOUSE = Path(__file__).resolve().parent.parent.parent


def test_the_docs_build_without_a_warning_and_hold_every_setting(tmp_path: Path) -> None:
    built = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-q",
            "-W",
            "--keep-going",
            "-b",
            "html",
            "-d",
            tmp_path / "trees",
            "docs",
            tmp_path / "html",
        ],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "html/reference/settings.html").read_text()
    assert [each.variable for each in reference() if each.variable not in page] == []
