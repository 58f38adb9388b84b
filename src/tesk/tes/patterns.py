r"""What the path of an output is: a pattern where it holds a wildcard, else a plain path; `\` escapes in both. Pure."""

import re

_SPECIAL = re.compile(r"\\.|[*?\[]", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def first_wildcard(path: str) -> int | None:
    r"""Return the place of the first `*`, `?` or `[` that no `\` escapes, None where there is none."""
    return next((found.start() for found in _SPECIAL.finditer(path) if not found[0].startswith("\\")), None)


def has_wildcards(path: str) -> bool:
    r"""Say whether `path` holds a `*`, `?` or `[` that no `\` escapes."""
    return first_wildcard(path) is not None


def literal(path: str) -> str:
    r"""Return what a path without wildcards names: `\` before a letter is taken away."""
    return _ESCAPED.sub(r"\1", path)
