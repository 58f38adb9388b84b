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

_BYTE = r"(25[0-5]|2[0-4]\d|1?\d?\d)"
_PORTS = r"^\d{1,5}(-\d{1,5})?$"
_HOST = (
    r"^([^/\s]+"
    rf"|({_BYTE}\.){{3}}{_BYTE}/(3[0-2]|[12]?\d)"
    r"|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*/(12[0-8]|1[01]\d|\d?\d))$"
)
Ports = Annotated[str, Meta(pattern=_PORTS)]
Host = Annotated[str, Meta(pattern=_HOST)]
"""A network that is none would be taken for the name of a host, and forbid or allow nothing."""
LOOKS = {
    _PORTS: "a port or a range of them, such as 443 or 1024-65535",
    _HOST: "a host's name, *.example.org, *, an address or a network such as 10.0.0.0/8",
}
"""What a value that does not match should be."""
