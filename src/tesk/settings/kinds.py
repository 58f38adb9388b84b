"""The kinds of values that settings have, and the sentence that each of them carries."""

from typing import Annotated

from msgspec import Meta


def says(description: str) -> Meta:
    """Return what the reference prints beside a setting."""
    return Meta(description=description)


Port = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]
Amount = Annotated[float, Meta(ge=0)]
Paths = Annotated[tuple[str, ...], Meta(extra={"paths": True})]
"""In a variable they are parted by `:`, as in PATH; other lists by `,`."""
Secret = Annotated[str, Meta(extra={"secret": True})]
"""Never printed."""
