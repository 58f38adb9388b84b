"""POSIX patterns over names (IEEE Std 1003.1-2017, 2.13): which they are, what they match. Pure: no disk."""

import re
from functools import cache

from tesk.tes.patterns import has_wildcards, literal

_CLASSES = {
    "alnum": "A-Za-z0-9",
    "alpha": "A-Za-z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": r"\x21-\x7e",
    "lower": "a-z",
    "print": r"\x20-\x7e",
    "punct": r"!-/:-@\[-`{-~",
    "space": r" \t\r\n\v\f",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


def parts(pattern: str) -> tuple[str, ...]:
    """Take an absolute pattern apart at its slashes. No wildcard, and no bracket expression, matches or holds a `/`."""
    return tuple(part for part in pattern.split("/") if part)


@cache
def matcher(part: str) -> re.Pattern[str]:
    r"""Return an expression for one part of a pattern, to be used with `fullmatch` on one name.

    `*`, `?` and `[...]` match no dot at the beginning. A `[` without its `]` stands for itself.
    """
    chunks = [""]  # what stands between the stars
    at = 0
    while at < len(part):
        letter = part[at]
        at += 1
        if letter == "\\" and at < len(part):
            chunks[-1] += re.escape(part[at])
            at += 1
        elif letter == "*":
            chunks.append("")
        elif letter == "?":
            chunks[-1] += "."
        elif letter == "[" and (end := _bracket_end(part, at)):
            chunks[-1] += _bracket(part[at : end - 1])
            at = end
        else:
            chunks[-1] += re.escape(letter)
    no_dot = r"(?!\.)" if has_wildcards(part[:1]) else ""
    first, *rest = chunks
    # The first place where a chunk fits is as good as any, so no star but the last is tried again: else a name could
    # keep us for hours.
    middle = "".join(f"(?>.*?{chunk})" for chunk in rest[:-1] if chunk)
    return re.compile(no_dot + first + middle + (f".*{rest[-1]}" if rest else ""), re.DOTALL)


def pruned(path: str, prefix: str | None) -> str:
    """Return `path` without `path_prefix`, as it is appended to the output's URL; whole where the prefix does not fit.

    A prefix is plain text that ends where a folder does, or in a name (`/data/run-` leaves `7.txt` of `/data/run-7.txt`).
    """
    prefix = literal(prefix or "")
    return (path.removeprefix(prefix) if prefix != "/" else path).lstrip("/")


def _bracket_end(part: str, at: int) -> int:
    """The place after the `]` that closes a bracket expression whose inside begins at `at`; 0 where none does."""
    if part[at : at + 1] in {"!", "^"}:
        at += 1
    first = at
    while at < len(part):
        if part[at] == "[" and part[at + 1 : at + 2] in {":", ".", "="}:
            close = part.find(part[at + 1] + "]", at + 2)
            if close >= 0:
                at = close + 2
                continue
        if part[at] == "\\":
            at += 2
            continue
        if part[at] == "]" and at > first:
            return at + 1
        at += 1
    return 0


def _bracket(inside: str) -> str:
    no = inside[:1] in {"!", "^"}
    inside = inside[1:] if no else inside
    items: list[str] = []  # what one letter of the set is, or a ready class
    at = 0
    while at < len(inside):
        mark = inside[at + 1 : at + 2]
        close = inside.find(mark + "]", at + 2) if inside[at] == "[" and mark in {":", ".", "="} and mark else -1
        if close >= 0:
            name = inside[at + 2 : close]
            items.append(_CLASSES.get(name, "") if mark == ":" else re.escape(name[:1]))
            at = close + 2
            continue
        if inside[at] == "\\" and at + 1 < len(inside):
            at += 1
            items.append(re.escape(inside[at]))
        elif inside[at] == "-" and items and at + 1 < len(inside):
            items.append("-")  # a range, unless it stands first or last
        else:
            items.append(re.escape(inside[at]))
        at += 1
    try:
        return re.compile(f"[{'^' * no}{''.join(items)}]").pattern
    except re.error:
        return "(?!)" if not no else "."  # an empty range or class matches no letter
