"""Read a body that must fit a form exactly: what is not known is an error, too. Pure."""

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from tesk.errors import BadRequest, Problem
from tesk.tes.document import parse, repeated_keys, shown

_T = TypeVar("_T")
_WHERE = re.compile(r"(.*) - at `\$\.?(.*)`", re.DOTALL)


def read(raw: bytes, form: type[_T], wrong: Callable[[_T], Iterable[Problem]]) -> _T:
    """Read JSON as a form, and have it looked at. Raises BadRequest with all that is wrong."""
    document = parse(raw)
    problems = [Problem(path, "is given more than once") for path in repeated_keys(document)]
    try:
        asked = msgspec.convert(document, form)
    except msgspec.ValidationError as error:
        found = _WHERE.match(str(error))
        problems.append(Problem(found[2], found[1]) if found else Problem("", str(error)))
    else:
        problems += wrong(asked)
        if not problems:
            return asked
    detail = "; ".join(f"{each.path or 'the body'}: {each.detail}" for each in problems[:3])
    raise BadRequest(detail, tuple(problems))


def halves(name: str, texts: Iterable[str]) -> Iterable[Problem]:
    """Yield a problem for each text that no database can hold."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError:
            yield Problem(name, f"holds half of a character, {shown(text)}")
