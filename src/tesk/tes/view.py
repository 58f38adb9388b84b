"""What of a task each view shows."""

from enum import StrEnum


class View(StrEnum):
    """The parameter `view`."""

    MINIMAL = "MINIMAL"
    BASIC = "BASIC"
    FULL = "FULL"
