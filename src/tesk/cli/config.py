"""`tesk config`: the settings in force and where each comes from. The output is TOML, without secrets."""

import argparse
import json
import re
from collections.abc import Iterable, Mapping

import msgspec

from tesk.cli.loaded import add_settings_arguments, settings_in_force
from tesk.cli.output import add_output_argument, print_document
from tesk.settings import Settings
from tesk.settings.reference import Setting, reference

HIDDEN = "***"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the flags of the server, so that it can be asked what they would do."""
    add_settings_arguments(parser)
    add_output_argument(parser, default="toml", formats=("toml", "json"))
    parser.add_argument("--changed", action="store_true", help="only what is not as it is by default")


def run(args: argparse.Namespace) -> int:
    """Print them."""
    loaded = settings_in_force(args)
    values = shown(loaded.settings)
    kept = [each for each in reference() if not args.changed or loaded.origins[each.key] != "default"]
    if args.format == "json":
        print_document(
            {each.key: {"value": values[each.key], "from": loaded.origins[each.key]} for each in kept}, "json"
        )
        return 0
    lines = [_line(each, values[each.key]) for each in kept]
    width = min(60, max((len(line) for line in lines), default=0))
    for setting, line in zip(kept, lines, strict=True):
        print(f"{line:{width}}  # {loaded.origins[setting.key]}")
    return 0


def shown(settings: Settings) -> dict[str, object]:
    """Return the values by key, as JSON, secrets hidden."""
    tree = msgspec.to_builtins(settings)
    values: dict[str, object] = {}
    for setting in reference():
        section, _, name = setting.key.rpartition(".")
        value = (tree[section] if section else tree)[name]
        if setting.columns and value is not None:
            value = hidden(setting, value)
        elif setting.secret and value:
            value = HIDDEN
        values[setting.key] = without_password(value) if setting.key == "database" else value
    return values


def without_password(url: str) -> str:
    """Return a database URL without the password in it, wherever it stands."""
    url = re.sub(r"(://[^:/?#]*):.*@", rf"\1:{HIDDEN}@", url)
    return re.sub(r"([?&][^=&]*password=)[^&]*", rf"\1{HIDDEN}", url)


def hidden(setting: Setting, rows: Iterable[Mapping[str, object]]) -> list[dict[str, object]]:
    """Return the rows of a setting that is a list of tables, secrets hidden."""
    secret = {column.key for column in setting.columns if column.secret}

    def hide(name: str, cell: object) -> object:
        if not cell or name not in secret:
            return cell
        return [HIDDEN] if isinstance(cell, list | tuple) else HIDDEN

    return [{name: hide(name, cell) for name, cell in row.items()} for row in rows]


def _line(setting: Setting, value: object) -> str:
    if value is None:
        return f"# {setting.key} is not given"
    return f"{setting.key} = {_toml(value)}"


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(name)} = {_toml(each)}" for name, each in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    # A JSON text, number or truth is one of TOML as well.
    return json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)
