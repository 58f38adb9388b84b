"""Times on the wire: RFC 3339 in UTC."""

from datetime import UTC, datetime
from functools import lru_cache


def rfc3339(seconds: float) -> str:
    """Return a time in seconds since the epoch as the wire shows it, to the millisecond: `2026-01-31T12:00:00.000Z`."""
    whole, micros = divmod(round(seconds * 1_000_000), 1_000_000)
    return f"{_to_the_second(whole)}.{micros // 1000:03d}Z"


# Of the tasks of a page many were created in the same second, and pages are asked for again.
@lru_cache(maxsize=4096)
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
