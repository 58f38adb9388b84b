"""Write the pages that are made from the code, settings and commands, and what `make bench-cluster` measured last."""

import json
import time
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from tesk.cli.reference import markdown
from tesk.settings.reference import Setting, reference
from tesk.settings.tree import Settings


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True}


def _write(app: Sphinx) -> None:
    folder = Path(app.srcdir) / "reference"
    pages = {"settings": settings(), "cli": markdown(), "measured": measured(folder.parent.parent)}
    for name, text in pages.items():
        path = folder / f"{name}.gen.md"
        # Only what changed is written, so that a second build is quick.
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def measured(house: Path) -> str:
    """Return what was measured on a cluster as a table, or a sentence where nothing was."""
    file = house / "build/bench-cluster.json"
    if not file.exists():
        return "Nothing has been measured where this page was made: `make bench-cluster` does, on the cluster of KUBECONFIG.\n"
    day = time.strftime("%Y-%m-%d", time.gmtime(file.stat().st_mtime))
    lines = [f"Measured on {day}.", "", "| figure | TESK | compared with | ratio | to reach |", "|---|---|---|---|---|"]
    for row in json.loads(file.read_text()):
        ours, peer = (f"{row[name]:,.3g} {row['unit']}" for name in ("ours", "peer"))
        lines.append(f"| {row['figure']} | {ours} | {peer} | {row['ratio']:.2f} | {row['at']} {row['goal']:g} |")
    return "\n".join(lines) + "\n"


def settings() -> str:
    """Return the reference of all settings as Markdown, a section for each table of the file."""
    tables: dict[str, list[Setting]] = {}
    for setting in reference():
        tables.setdefault(setting.key.rpartition(".")[0], []).append(setting)
    return "\n".join(line for name, rows in tables.items() for line in _table(name, rows))


def _table(name: str, rows: list[Setting]) -> list[str]:
    lines = [f"## `[{name}]`" if name else "## At the top", ""]
    about = Settings.__annotations__[name].__doc__ if name else "These stand before the first table of the file."
    lines += [str(about).split("\n")[0], ""]
    for row in rows:
        lines += [f"(setting-{row.key.replace('.', '-')})=", f"### `{row.key}`", "", row.description, ""]
        lines += [f"Type: {row.type}. Default: `{row.default or 'none'}`. Variable: `{row.variable}`.", ""]
        if row.columns:
            lines += ["| key | type | default | |", "|---|---|---|---|"]
            lines += [
                f"| `{each.key}` | {each.type} | {f'`{each.default}`' if each.default else 'must be given'} | {each.description} |"
                for each in row.columns
            ]
            lines += [""]
    return lines
