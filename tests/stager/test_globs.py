"""POSIX patterns as a table."""

import pytest

from tesk.stager.globs import matcher, pruned
from tesk.tes.patterns import has_wildcards, literal


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("*", "a", True),
        ("*", "", True),
        ("*", ".a", False),
        (".*", ".a", True),
        ("?", "a", True),
        ("?", ".", False),
        ("??", "a", False),
        ("*.txt", "a.txt", True),
        ("*.txt", "a.txt.gz", False),
        ("*.txt", "a\n.txt", True),
        ("a*b*c", "aXbYc", True),
        ("*ab*ab", "abXab", True),
        ("*ab*ab", "ab", False),
        ("a**b", "ab", True),
        ("[abc]", "b", True),
        ("[abc]", "d", False),
        ("[!abc]", "d", True),
        ("[!abc]", "a", False),
        ("[^abc]", "d", True),
        ("[!a]x", ".x", False),
        ("[.]x", ".x", False),
        ("[a-c]", "b", True),
        ("[a-c]", "-", False),
        ("[-ac]", "-", True),
        ("[ac-]", "-", True),
        ("[]a]", "]", True),
        ("[!]a]", "b", True),
        ("[!]a]", "]", False),
        ("[[:digit:]]", "7", True),
        ("[[:digit:]x]", "x", True),
        ("[[:digit:]]", "d", False),
        ("[[:nonsense:]]", "n", False),
        ("[[.a.]]", "a", True),
        (r"[\]]", "]", True),
        (r"[\\]", "\\", True),
        ("[z-a]", "m", False),
        ("[z-a]", "z", False),
        ("[", "[", True),
        ("[a", "[a", True),
        ("a[", "a[", True),
        ("[[]", "[", True),
        ("[&&||~~]", "&", True),
        (r"\*", "*", True),
        (r"\*", "a", False),
        (r"\a", "a", True),
        ("a\\", "a\\", True),
        ("a.b+(c)", "a.b+(c)", True),
        ("a.b", "aXb", False),
        ("?", "\udcff", True),
        ("ä*", "äö", True),
    ],
)
def test_a_pattern_matches_as_posix_says(pattern: str, name: str, matches: bool) -> None:
    assert (matcher(pattern).fullmatch(name) is not None) is matches


@pytest.mark.parametrize(
    ("path", "wild", "plain"),
    [
        ("/a/b", False, "/a/b"),
        ("/a/*", True, "/a/*"),
        ("/a?", True, "/a?"),
        ("/[a]", True, "/[a]"),
        (r"/a\*", False, "/a*"),
        (r"/a\\*", True, "/a\\*"),
        (r"/a\[b]\?", False, "/a[b]?"),
        ("/a\\", False, "/a\\"),
    ],
)
def test_wildcards_count_unless_they_are_escaped(path: str, wild: bool, plain: str) -> None:
    assert has_wildcards(path) is wild
    assert literal(path) == plain


@pytest.mark.parametrize(
    ("path", "prefix", "rest"),
    [
        ("/a/b/c", "/a", "b/c"),
        ("/a/b/c", "/a/", "b/c"),
        ("/a/b/c", "/a/b", "c"),
        ("/a/b/c", "/", "a/b/c"),
        ("/a/b/c", None, "a/b/c"),
        ("/a/b/c", "/x", "a/b/c"),
        ("/data/run-7.txt", "/data/run-", "7.txt"),
        ("/a*/b", r"/a\*", "b"),
    ],
)
def test_the_prefix_is_taken_from_what_matched(path: str, prefix: str | None, rest: str) -> None:
    assert pruned(path, prefix) == rest


def test_no_pattern_takes_long() -> None:
    assert matcher("*a" * 60 + "*b").fullmatch("a" * 255) is None
    assert matcher("*?*?[a]" * 30 + "*").fullmatch("a" * 255) is not None
