"""Tags as hashed pairs, so that a page by tag is one walk along an index. Pure.

A task with an owner has four hashes for each tag: for its owner's lists and for everybody's, with the value and for any.
64 bits: among ten million different pairs two are alike by chance once in 400,000 stores, and a task would be listed too many.
"""

import struct
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b

from tesk.caller import LOCAL


def has_own_index(owner: str) -> bool:
    """Say whether lists of this owner have hashes of their own.

    The one caller of a server without authentication has none: everybody's lists are theirs.
    """
    return owner != LOCAL.name


# The tasks of a workflow have the same tags over and over.
@lru_cache(maxsize=4096)
def pair_hash(owner: str | None, key: str, value: str | None) -> int:
    """Return the hash under which tasks with this tag are found; `owner` None is everybody, `value` None is any."""
    # The lengths keep ("a", "bc") and ("ab", "c") apart.
    head = f"{-1 if owner is None else len(owner)},{len(key)},{-1 if value is None else len(value)},"
    text = f"{head}{owner or ''}{key}{value or ''}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


def pair_hashes(owner: str, tags: Mapping[str, str]) -> list[int]:
    """Return every hash under which a task is found."""
    owners = (None, owner) if has_own_index(owner) else (None,)
    return sorted(
        {pair_hash(of, key, value) for of in owners for key, given in tags.items() for value in (given, None)}
    )


def pack(hashes: list[int]) -> bytes:
    """Return hashes as eight bytes each."""
    return struct.pack(f">{len(hashes)}q", *hashes)


def unpack(packed: bytes) -> tuple[int, ...]:
    """Return what `pack` was given."""
    return struct.unpack(f">{len(packed) // 8}q", packed)
