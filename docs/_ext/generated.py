"""Write the pages that are made from the code: the settings and the commands."""

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
    for name, text in {"settings": settings(), "cli": markdown()}.items():
        path = folder / f"{name}.gen.md"
        # Only what changed is written, so that a second build is quick.
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


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
