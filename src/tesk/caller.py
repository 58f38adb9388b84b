"""Who asks, and whose tasks they may see."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who was let in. Tasks that they create have `name` as owner; an admin sees everybody's.

    Who `reads_only` creates none, cancels none, and changes nothing else.
    """

    name: str
    admin: bool = False
    reads_only: bool = False

    def may_see(self, owner: str) -> bool:
        """Say whether a task of `owner` exists for this caller."""
        return self.admin or self.name == owner


LOCAL = Caller("local", admin=True)
"""The one caller of a server without authentication."""
