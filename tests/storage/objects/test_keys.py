"""From URLs to keys and from listings to trees; what somebody else put into a bucket never leads out of a folder."""

import pytest

from tesk.errors import TransferRefused
from tesk.storage.objects.az import parts_of
from tesk.storage.objects.keys import Listed, entries, place_of, quoted
from tesk.storage.url import below
from tesk.tes.task import FileType


@pytest.mark.parametrize(
    ("url", "bucket", "key"),
    [
        ("s3://bucket", "bucket", ""),
        ("s3://bucket/", "bucket", ""),
        ("s3://bucket/a/b.txt", "bucket", "a/b.txt"),
        ("s3://bucket/a%20b%2Fc", "bucket", "a b/c"),
        ("s3://bucket/a b?c#d", "bucket", "a b?c#d"),
        ("s3://bucket/100%.txt", "bucket", "100%.txt"),
        ("s3://bucket//abs", "bucket", "/abs"),
        ("S3://bucket/%C3%A4%0A", "bucket", "ä\n"),
    ],
)
def test_a_url_names_a_bucket_and_a_key(url: str, bucket: str, key: str) -> None:
    assert place_of(url) == (bucket, key)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3:///key", "no bucket"),
        ("s3://user:secret@bucket/key", "no bucket"),
        ("s3://a..b/key", "no bucket"),
        ("s3://bucket?x/key", "no bucket"),
        ("s3://bucket/../other/key", "parts"),
        ("s3://bucket/a/%2E%2E/b", "parts"),
        ("s3://bucket/a/./b", "parts"),
        ("s3://bucket/a%00b", "parts"),
        ("s3://bucket/a%FFb", "a%FFb"),
        (below("s3://bucket", "caf\udce9"), "caf%E9"),
    ],
)
def test_a_url_that_names_no_object_is_refused(url: str, words: str) -> None:
    with pytest.raises(TransferRefused, match=words) as refused:
        place_of(url)
    assert "secret" not in str(refused.value)


def test_a_name_below_a_url_is_its_key_again() -> None:
    name = "a b/#?%/\n ä+&=;/x"
    assert place_of(below("s3://bucket/top", name)).key == f"top/{name}"
    assert quoted("a b+ä/~x") == "a%20b%2B%C3%A4/~x"


def test_a_listing_becomes_a_tree_with_its_empty_folders() -> None:
    keys = ["top/", "top/a", "top/b/c/d", "top/b/e", "top/empty/", "top/b/c/"]
    found = list(entries("s3://bucket/top", "top/", [Listed(key, 1) for key in keys]))
    assert [(entry.name, entry.type is FileType.DIRECTORY) for entry in found] == [
        ("a", False),
        ("b", True),
        ("b/c", True),
        ("b/c/d", False),
        ("b/e", False),
        ("empty", True),
    ]
    assert found[3].url == "s3://bucket/top/b/c/d"


@pytest.mark.parametrize(
    "key",
    [
        "top/../../etc/passwd",
        "top//etc/passwd",
        "top/a//b",
        "top/./a",
        "top/..",
        "top/a/../b/",
        "/etc/passwd",
        "elsewhere/a",
        "top/a\0b",
        f"top/{'n' * 300}",
        f"top/{'ä' * 128}/x",
    ],
)
def test_a_hostile_key_is_refused_and_named(key: str) -> None:
    with pytest.raises(TransferRefused, match="holds an object with the key"):
        list(entries("s3://bucket/top", "top/", [Listed("top/fine", 1), Listed(key, 1)]))


def test_azure_has_two_ways_to_write_the_same() -> None:
    assert parts_of("az://account/container/a%20b/c") == ("account", "container", "a b/c")
    assert parts_of("abfss://container@account.dfs.core.windows.net/a/b") == ("account", "container", "a/b")
    assert parts_of("abfs://container@account.blob.core.windows.net") == ("account", "container", "")


@pytest.mark.parametrize(
    "url",
    [
        "az://account",
        "az://bad.account/container/key",
        "abfs://container@account.example.org/key",
        "abfs://container/key",
        "abfs://container@a.b.dfs.core.windows.net/key",
        "az://account/container/../other",
    ],
)
def test_what_names_no_container_is_refused(url: str) -> None:
    with pytest.raises(TransferRefused):
        parts_of(url)
