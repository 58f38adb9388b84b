"""Count what happens, and print it as Prometheus reads it. No library: one would double the start of the server."""


class Metrics:
    """Everything that `/metrics` shows. Safe from any thread."""

    def committed(self, changes: int) -> None:
        """Tell of a batch of changes that shared a commit."""

    def started(self, waited_seconds: float) -> None:
        """Tell of a task's first attempt, and how long the task had been in QUEUED."""

    def ended(self, state: str, ran_seconds: float) -> None:
        """Tell of the end of an attempt, in which state it left the task, and how long it had run."""
