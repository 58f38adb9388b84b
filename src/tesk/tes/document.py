"""Walk a task as it came, as raw JSON, and say everything that is wrong with it. Slow and thorough."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isfinite
from typing import TypeAlias

from tesk.errors import BadRequest, Problem
from tesk.tes.patterns import has_wildcards

Json: TypeAlias = object
"""What JSON can be."""
Clean: TypeAlias = dict[str, object]
"""An object without nulls and without fields that are unknown, read-only or given as nothing."""

MOST_PROBLEMS = 100
"""More are counted, not listed."""
MOST_COUNTED = 10_000
"""After so many nobody reads on: a body of a few megabytes may hold millions."""
MOST_PATH_BYTES = 4095
"""PATH_MAX without its NUL: a longer path can be given to no program."""
MOST_CORES = 2**31 - 1
"""`cpu_cores` is an int32."""
MOST_GB = 10**9
"""10^18 bytes: what fits into a column, and more than there is."""
TIME_LIMIT = "time_limit_seconds"

_SHOWN = 60
_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")
_AUTHORITY = re.compile(r"(?<=://)[^/?#\s]*@")
_KINDS: dict[type, str] = {type(None): "null", bool: "a boolean", list: "a list"}


class _Object(dict[str, Json]):
    """A JSON object that remembers which keys it was given twice."""

    repeated: tuple[str, ...] = ()


def parse(raw: bytes) -> Json:
    """Return what the bytes say, as JSON in UTF-8. Raises BadRequest with the line and column."""
    try:
        return json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_pairs, parse_constant=_not_json, parse_int=_whole)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise _syntax(f"{error.msg[:1].lower()}{error.msg[1:]}, {where}") from error
    except UnicodeDecodeError as error:
        raise _syntax(f"the byte at position {error.start} is no UTF-8") from error
    except RecursionError as error:
        raise _syntax("it is nested too deeply") from error
    except ValueError as error:
        raise _syntax(str(error)) from error


def repeated_keys(value: Json, path: str = "") -> Iterator[str]:
    """Yield the path of every key that an object in what `parse` returned was given more than once."""
    if isinstance(value, _Object):
        yield from (_below(path, key) for key in value.repeated)
        for key, each in value.items():
            yield from repeated_keys(each, _below(path, key))


def _syntax(what: str) -> BadRequest:
    return BadRequest(f"the body is not a JSON object: {what}", (Problem("", what),))


def _pairs(pairs: list[tuple[str, Json]]) -> _Object:
    found = _Object(pairs)
    if len(found) < len(pairs):
        # Counted in one go: a body may hold hundreds of thousands of keys.
        times = Counter(key for key, _ in pairs)
        found.repeated = tuple(key for key in found if times[key] > 1)
    return found


def _not_json(word: str) -> Json:
    raise ValueError(f"{word} is no number of JSON")


def _whole(digits: str) -> float:
    # Python refuses to read thousands of digits; no field takes so many.
    return int(digits) if len(digits) < 400 else float(digits)


class Reading:
    """One walk over one task: what is good of it, and all problems."""

    def __init__(self, parameters: frozenset[str], content_limit_bytes: int) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[str] = []
        self._parameters = parameters
        self._content_limit = content_limit_bytes
        self._content = 0

    def task(self, raw: Json) -> Clean:
        """Return the good of a task."""
        clean: Clean = {}
        if (found := self._object("", raw)) is None:
            return clean
        self._fields(clean, found, "", self._text, "name", "description")
        for name, read in (("inputs", self._input), ("outputs", self._output), ("executors", self._executor)):
            self._fields(clean, found, "", _many(self, read), name)
        self._fields(clean, found, "", self._resources, "resources")
        self._fields(clean, found, "", _many(self, self._path), "volumes")
        self._fields(clean, found, "", self._words, "tags")
        self._fields(clean, found, "", self._text, "callback_url")
        if found.get("executors") is None or clean.get("executors") == []:
            self._wrong("executors", "must hold at least one executor")
        return clean

    # -- the parts of a task ---------------------------------------------------------------------------------------------

    def _input(self, path: str, raw: Json) -> Clean | None:
        clean: Clean = {}
        if (found := self._object(path, raw)) is None:
            return None
        self._fields(clean, found, path, self._text, "name", "description", "url")
        self._fields(clean, found, path, self._path, "path")
        self._fields(clean, found, path, self._type, "type")
        self._fields(clean, found, path, self._literal, "content")
        self._fields(clean, found, path, self._flag, "streamable")
        self._needed(found, path, "path")
        if clean.get("url") == "":
            del clean["url"]
        if clean.get("content") == "" and "url" in clean:
            del clean["content"]
        if "url" not in clean and "content" not in clean and not (found.get("content") or found.get("url")):
            self._wrong(path, "must have a `url`, or a `content`")
        if "content" in clean and clean.get("type") == "DIRECTORY":
            self._wrong(f"{path}.type", "must be FILE where there is `content`, not DIRECTORY")
        return clean

    def _output(self, path: str, raw: Json) -> Clean | None:
        clean: Clean = {}
        if (found := self._object(path, raw)) is None:
            return None
        self._fields(clean, found, path, self._text, "name", "description", "path_prefix", "url")
        self._fields(clean, found, path, self._path, "path")
        self._fields(clean, found, path, self._type, "type")
        self._needed(found, path, "path", "url")
        if clean.get("path_prefix") == "":
            del clean["path_prefix"]
        place = clean.get("path")
        if isinstance(place, str) and has_wildcards(place) and not found.get("path_prefix"):
            self._wrong(f"{path}.path_prefix", f"is needed where `path` has wildcards, as {shown(place)} has")
        return clean

    def _executor(self, path: str, raw: Json) -> Clean | None:
        clean: Clean = {}
        if (found := self._object(path, raw)) is None:
            return None
        self._fields(clean, found, path, self._text, "image")
        self._fields(clean, found, path, _many(self, self._text), "command")
        self._fields(clean, found, path, self._path_or_nothing, "workdir", "stdin", "stdout", "stderr")
        self._fields(clean, found, path, self._environment, "env")
        self._fields(clean, found, path, self._flag, "ignore_error")
        self._needed(found, path, "image")
        command = found.get("command")
        if command is None or command == []:
            self._wrong(f"{path}.command", 'must name a program and its arguments, such as ["echo", "hello"]')
        elif isinstance(command, list) and command[0] == "":
            self._wrong(f"{path}.command[0]", "must name a program, not be empty")
        return clean

    def _resources(self, path: str, raw: Json) -> Clean | None:
        clean: Clean = {}
        if (found := self._object(path, raw)) is None:
            return None
        self._fields(clean, found, path, _number(self, MOST_CORES, "cores"), "cpu_cores")
        self._fields(clean, found, path, _number(self, MOST_GB, "units of 10^9 bytes"), "ram_gb", "disk_gb")
        self._fields(clean, found, path, self._flag, "preemptible", "backend_parameters_strict")
        self._fields(clean, found, path, _many(self, self._text), "zones")
        self._fields(clean, found, path, self._words, "backend_parameters")
        strict = clean.get("backend_parameters_strict") is True
        asked = clean.get("backend_parameters")
        if isinstance(asked, dict):
            kept = {key: value for key, value in asked.items() if self._supported(path, key, value, strict)}
            clean["backend_parameters"] = kept
            if not kept:
                del clean["backend_parameters"]
        return clean

    def _supported(self, path: str, key: str, value: str, strict: bool) -> bool:
        where = _below(f"{path}.backend_parameters", key)
        known = f"supported here: {', '.join(sorted(self._parameters)) or 'none'}"
        if key.lower() not in self._parameters:
            if strict:
                self._wrong(where, f"is not supported ({known}), and `backend_parameters_strict` is true")
            else:
                self.warnings.append(f"The backend parameter {shown(key)} was left out; {known}")
            return False
        if key.lower() == TIME_LIMIT and not _is_time(value):
            self._wrong(where, f"must be a number of seconds above 0, not {shown(value)}")
        return True

    # -- kinds of values -------------------------------------------------------------------------------------------------

    def _object(self, path: str, raw: Json) -> _Object | None:
        if not isinstance(raw, _Object):
            self._wrong(path, f"must be an object, not {shown(raw)}")
            return None
        for key in raw.repeated:
            self._wrong(_below(path, key), "is given more than once")
        return raw

    def _text(self, path: str, raw: Json) -> str | None:
        text = self._any_text(path, raw)
        if text is not None and "\0" in text:
            self._wrong(path, "must not hold the character NUL")
        return text

    def _any_text(self, path: str, raw: Json) -> str | None:
        if not isinstance(raw, str):
            self._wrong(path, f"must be a string, not {shown(raw)}")
            return None
        try:
            raw.encode()
        except UnicodeEncodeError as error:
            self._wrong(path, f"holds half of a character (\\u{ord(raw[error.start]):04x} without its other half)")
            return None
        return raw

    def _literal(self, path: str, raw: Json) -> str | None:
        text = self._any_text(path, raw)
        if text is not None:
            before, self._content = self._content, self._content + len(text.encode())
            if before <= self._content_limit < self._content:
                self._wrong(path, f"brings the `content` of this task above {self._content_limit} bytes: use a `url`")
        return text

    def _path(self, path: str, raw: Json) -> str | None:
        text = self._text(path, raw)
        if text is not None:
            if not text.startswith("/"):
                self._wrong(path, f"must be an absolute path, not {shown(text)}")
            elif len(text.encode()) > MOST_PATH_BYTES:
                self._wrong(path, f"must not be longer than {MOST_PATH_BYTES} bytes, as {shown(text)} is")
            elif ".." in text.split("/"):
                self._wrong(path, f"must not go up by `..`, as {shown(text)} does")
        return text

    def _path_or_nothing(self, path: str, raw: Json) -> str | None:
        return None if raw == "" else self._path(path, raw)

    def _type(self, path: str, raw: Json) -> str | None:
        if raw not in ("FILE", "DIRECTORY"):
            self._wrong(path, f"must be FILE or DIRECTORY, not {shown(raw)}")
            return None
        return str(raw)

    def _flag(self, path: str, raw: Json) -> bool | None:
        if not isinstance(raw, bool):
            self._wrong(path, f"must be true or false, not {shown(raw)}")
            return None
        return raw

    def _words(self, path: str, raw: Json) -> dict[str, str] | None:
        clean = {}
        if (found := self._object(path, raw)) is None:
            return None
        for key, value in found.items():
            where = _below(path, key)
            if value is not None and self._text(where, key) is not None:
                clean[key] = self._text(where, value) or ""
        return clean

    def _environment(self, path: str, raw: Json) -> dict[str, str] | None:
        if (found := self._object(path, raw)) is None:
            return None
        clean = {}
        for key, value in found.items():
            where = _below(path, key)
            if not key or "=" in key:
                self._wrong(where, "must have a name without `=`, and not an empty one")
            if value is None or self._text(where, key) is None:
                continue
            if isinstance(value, str):
                clean[key] = self._text(where, value) or ""
            else:
                # Values may be secrets: what was given is not shown.
                self._wrong(where, f"must be a string, not {_kind(value)}")
        return clean

    # -- what they are made with -----------------------------------------------------------------------------------------

    def _fields(
        self, clean: Clean, found: _Object, path: str, read: Callable[[str, Json], object], *names: str
    ) -> None:
        for name in names:
            value = found.get(name)
            if value is not None and (good := read(_below(path, name), value)) is not None:
                clean[name] = good

    def _needed(self, found: _Object, path: str, *names: str) -> None:
        for name in names:
            if found.get(name) is None:
                self._wrong(_below(path, name), "must be given")
            elif found[name] == "" and name != "path":
                self._wrong(_below(path, name), "must not be empty")

    def _wrong(self, path: str, detail: str) -> None:
        self.problems.append(Problem(path, detail))
        if len(self.problems) > MOST_COUNTED:
            raise self.refusal()

    def refusal(self) -> BadRequest:
        """Return all problems as one answer."""
        return bad_task(self.problems)

    def wrong(self, path: str, detail: str) -> None:
        """Note a problem that was found elsewhere."""
        self._wrong(path, detail)


def bad_task(problems: Sequence[Problem], what: str = "this task") -> BadRequest:
    """Return what is answered to a task with problems, of which there is one at least."""
    count, listed = len(problems), tuple(problems[:MOST_PROBLEMS])
    first = listed[0]
    many = f"more than {MOST_COUNTED}" if count > MOST_COUNTED else str(count)
    detail = f"{first.path or 'the body'} {first.detail}" if count == 1 else f"{many} problems with {what}"
    if count > MOST_PROBLEMS:
        detail += f", of which the first {MOST_PROBLEMS} are listed"
    return BadRequest(detail, listed)


def shown(value: Json) -> str:
    """Return a value as a person may see it: shortened, URLs without passwords and signatures."""
    if isinstance(value, str):
        text = value
        if "://" in text:
            text = _AUTHORITY.sub("", text)
            text = text.partition("?")[0] + ("?..." if "?" in text else "")
        text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        return json.dumps(text, ensure_ascii=True)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}" if isinstance(value, float) or abs(value) > 10**18 else str(value)
    return _kind(value)


def _kind(value: Json) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "a number"
    return _KINDS.get(type(value), "an object")


def _below(path: str, key: str) -> str:
    if _KEY.match(key):
        return f"{path}.{key}" if path else key
    return f"{path}[{json.dumps(key if len(key) <= _SHOWN else key[:_SHOWN] + '...')}]"


def _is_time(text: str) -> bool:
    try:
        seconds = float(text)
    except ValueError:
        return False
    return isfinite(seconds) and seconds > 0


def _many(reading: Reading, read: Callable[[str, Json], object]) -> Callable[[str, Json], object]:
    """Return what reads a list of what `read` reads."""

    def many(path: str, raw: Json) -> Iterable[object] | None:
        if not isinstance(raw, list):
            reading.wrong(path, f"must be a list, not {shown(raw)}")
            return None
        return [read(f"{path}[{index}]", value) for index, value in enumerate(raw)]

    return many


def _number(reading: Reading, most: int, unit: str) -> Callable[[str, Json], object]:
    """Return what reads a number from 0 to `most`."""

    def number(path: str, raw: Json) -> float | None:
        if isinstance(raw, bool) or not isinstance(raw, int | float):
            reading.wrong(path, f"must be a number, not {shown(raw)}")
            return None
        if not 0 <= raw <= most:
            reading.wrong(path, f"must be from 0 to {most} ({unit}), not {shown(raw)}")
            return None
        return raw

    return number
