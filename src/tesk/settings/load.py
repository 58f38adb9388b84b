"""Settings from flags, variables and files, in this order of precedence, to one frozen tree.

A file is TOML, or JSON where its name ends so: programs that write settings have no TOML.

A variable `TESK_X_FILE` names a file whose content counts as the value of `TESK_X`: so a secret need not stand in the
environment. A list in a variable is parted by `:` (paths) or `,` (all else), or is a JSON array where it begins with `[`; a
table is a JSON object.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tesk.errors import SettingsError
from tesk.settings.kinds import LOOKS
from tesk.settings.reference import Setting, reference
from tesk.settings.tree import Settings

CLIENT_VARIABLES = frozenset({"TESK_CONFIG", "TESK_SERVER", "TESK_TOKEN"})
"""Ours, but no settings of the server."""

_SERVICE_LINK = re.compile(
    r"TESK(_.*)?_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)\Z"
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The tree, and for each key where its value comes from: `default`, `/etc/tesk/config.toml:3`, `TESK_LOG_LEVEL`, `--port`.

    `files` were read for it: settings, and secrets that lie in files of their own.
    """

    settings: Settings
    origins: Mapping[str, str]
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class _Given:
    value: object
    origin: str
    strict: bool
    """TOML has types, a variable and a flag have text only."""


def default_files(home: Path) -> tuple[Path, ...]:
    """Return the files that are read where none is named: the machine's first, a person's own goes over it."""
    return (Path("/etc/tesk/config.toml"), home / ".config/tesk/config.toml")


def load(
    *,
    environ: Mapping[str, str],
    config: str | None = None,
    flags: Mapping[str, object] | None = None,
    files: tuple[Path, ...] = (),
) -> Loaded:
    """Return the settings in force.

    `config` is the file that a flag names, else `TESK_CONFIG`, else those of `files` that exist. `flags` are values by
    key (`server.port`); None means not given. Raises SettingsError that lists everything that is wrong.
    """
    problems: list[str] = []
    given: dict[str, _Given] = {}
    named = config or environ.get("TESK_CONFIG")
    read = [Path(named).expanduser()] if named else [file for file in files if file.exists()]
    for path in read:
        given |= _from_file(path, problems)
    given |= _from_environment(environ, problems, read)
    for key, value in (flags or {}).items():
        if value is not None:
            flag = "--" + key.rpartition(".")[2].replace("_", "-")
            given[key] = _Given(value, flag, strict=False)
    tree: dict[str, object] = {}
    for setting in reference():
        if setting.key in given:
            _place(tree, setting, given[setting.key], problems)
    if problems:
        raise SettingsError("\n".join(problems))
    origins = {each.key: given[each.key].origin if each.key in given else "default" for each in reference()}
    return Loaded(msgspec.convert(tree, Settings), origins, tuple(read))


def _from_file(path: Path, problems: list[str]) -> dict[str, _Given]:
    try:
        text = path.read_text(encoding="utf-8")
        is_json = path.suffix == ".json" or text.lstrip().startswith("{")  # as no TOML does
        document = json.loads(text) if is_json else tomllib.loads(text)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"{path}: not {'JSON' if is_json else 'TOML'}: {error}") from error
    if not isinstance(document, dict):
        raise SettingsError(f"{path}: is no object: write {{}} for no settings")
    known = {setting.key: setting for setting in reference()}
    sections = {key.rpartition(".")[0] for key in known} - {""}
    given: dict[str, _Given] = {}

    def read(table: Mapping[str, object], prefix: str) -> None:
        for name, value in table.items():
            key = prefix + name
            line = None if is_json else _line(text, key)
            origin = f"{path}:{line}" if line else str(path)
            if key in known:
                given[key] = _Given(value, origin, strict=True)
            elif key in sections and isinstance(value, dict):
                read(value, key + ".")
            elif key in sections:
                how = f'"{name}": {{...}}' if is_json else f"[{key}]"
                problems.append(f"{origin}: {key} is a table: write {how}")
            else:
                problems.append(f"{origin}: there is no setting {key}{_near(key, [*known, *sections])}")

    read(document, "")
    return given


def _from_environment(environ: Mapping[str, str], problems: list[str], read: list[Path]) -> dict[str, _Given]:
    known = {setting.variable: setting for setting in reference()}
    given: dict[str, _Given] = {}
    for name in sorted(environ):
        if not name.startswith("TESK_") or name in CLIENT_VARIABLES or _is_service_link(name, environ[name]):
            continue
        if setting := known.get(name):
            given[setting.key] = _Given(_parts(setting, environ[name]), name, strict=False)
        elif setting := known.get(name.removesuffix("_FILE")):
            if setting.variable in environ:
                problems.append(f"{name}: {setting.variable} is given, too; keep one of them")
                continue
            try:
                text = Path(environ[name]).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                problems.append(f"{name}: {environ[name]} cannot be read: {error}")
                continue
            read.append(Path(environ[name]))
            given[setting.key] = _Given(_parts(setting, text), f"{name} ({environ[name]})", strict=False)
        else:
            near = _near(name, [*known, *CLIENT_VARIABLES])
            problems.append(f"{name}: there is no such setting{near} (`tesk config` lists all)")
    return given


def _is_service_link(name: str, value: str) -> bool:
    """Say whether Kubernetes put this there for a Service called tesk, tesk-server or the like."""
    return _SERVICE_LINK.match(name) is not None or (
        name.endswith("_PORT") and value.startswith(("tcp://", "udp://", "sctp://"))
    )


def _parts(setting: Setting, text: str) -> object:
    """Return a variable's text as what the setting is made of."""
    opening = "{" if setting.type == "table" else "[" if setting.type.startswith("list") else None
    if text.lstrip()[:1] == opening:
        try:
            return json.loads(text)
        except ValueError:
            return text
    if setting.separator:
        return [part.strip() for part in text.split(setting.separator) if part.strip()]
    return text


def _place(tree: dict[str, object], setting: Setting, given: _Given, problems: list[str]) -> None:
    """Check one value against its type and put it where it belongs in the tree."""
    value = given.value
    if setting.key == "storage.file_roots" and isinstance(value, list | tuple):
        value = [{"path": each, "write": True} if isinstance(each, str) else each for each in value]
    before = len(problems)
    if setting.columns and isinstance(value, list | tuple):
        names = [column.key for column in setting.columns]
        problems.extend(
            f"{given.origin}: {setting.key}[{index}] has no {name}{_near(name, names)}; it has {', '.join(names)}"
            for index, row in enumerate(value)
            for name in (row if isinstance(row, dict) else ())
            if name not in names
        )
    section, _, name = setting.key.rpartition(".")
    fragment = {section: {name: value}} if section else {name: value}
    try:
        # Text becomes a number or a truth only in `convert`: the tree takes what that made.
        made = msgspec.to_builtins(msgspec.convert(fragment, Settings, strict=given.strict))
    except msgspec.ValidationError as error:
        if len(problems) == before:
            problems.append(f"{given.origin}: {_wrong(setting, value, str(error))}")
        return
    if section:
        inner = tree.setdefault(section, {})
        assert isinstance(inner, dict)
        inner[name] = made[section][name]
    else:
        tree[name] = made[name]


def _wrong(setting: Setting, value: object, said: str) -> str:
    """Say what is wrong with a value and what would be right; msgspec's own words only where a table's cell is meant."""
    said, _, where = said.partition(" - at `$.")
    cell = where.rstrip("`")
    if cell.startswith(setting.key) and cell != setting.key:
        entry = re.fullmatch(r"\[(\d+)\]", cell.removeprefix(setting.key))
        looks = next((words for pattern, words in LOOKS.items() if repr(pattern) in said), None)
        if entry and looks and isinstance(value, list | tuple):
            return f"{cell} = {json.dumps(value[int(entry[1])])}: must be {looks}"
        return f"{cell}: {said[:1].lower()}{said[1:]}"
    shown = "..." if setting.secret or setting.columns else json.dumps(value, default=str)
    return f"{setting.key} = {shown}: must be {setting.type}"


def _near(word: str, words: list[str]) -> str:
    by_end = {each.rpartition(".")[2]: each for each in reversed(words)}
    whole = difflib.get_close_matches(word, words, n=1, cutoff=0.75)
    end = difflib.get_close_matches(word.rpartition(".")[2], by_end, n=1, cutoff=0.7)
    close = whole or [by_end[each] for each in end]
    return f"; did you mean {close[0]}?" if close else ""


def _line(text: str, key: str) -> int | None:
    """Return the line of a TOML text where `key` is set or its table begins, as far as a look at each line can tell."""
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]", line):
            table = re.sub(r"\s*\.\s*|[\"']", lambda found: "." if "." in found[0] else "", header[1]) + "."
            here = table[:-1]
        elif entry := re.match(r"\s*([\w.\"'-]+)\s*=", line):
            here = table + re.sub(r"[\"']", "", entry[1])
        else:
            continue
        if here == key or here.startswith(key + "."):
            return number
    return None
