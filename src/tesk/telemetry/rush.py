"""How many submissions are under way: who could do his work a little later looks here first."""


class Rush:
    """Counts what is under way, and remembers the most between two looks: at one moment there may be none."""

    def __init__(self) -> None:
        self.under_way = 0
        self._most = 0

    def begin(self) -> None:
        """One more."""
        self.under_way += 1
        self._most = max(self._most, self.under_way)

    def end(self) -> None:
        """One less."""
        self.under_way -= 1

    def most(self) -> int:
        """Return how many were under way at once since this was last asked."""
        most, self._most = self._most, self.under_way
        return most
