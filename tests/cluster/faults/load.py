"""Many tasks that end well, badly, canceled, each known by how it must end."""

import random
from typing import Any

from cluster.faults.stage import Stage
from fakes.stubborn import Client


class Load:
    """Submits tasks, one after the other, and remembers how each must end. `seed` decides which kind comes when."""

    def __init__(self, stage: Stage, client: Client, seed: int, longest_seconds: float = 3.0, prefix: str = "") -> None:
        self.ends: dict[str, str] = {}
        self._stage = stage
        self._client = client
        self._dice = random.Random(seed)
        self._longest_seconds = longest_seconds
        self._prefix = prefix

    def submit(self, amount: int) -> None:
        """Submit some more."""
        for _ in range(amount):
            self._one(len(self.ends))

    def _one(self, number: int) -> None:
        seconds = self._dice.uniform(0.0, self._longest_seconds)
        key = f"{self._stage.server_id}-{self._prefix}{number}"
        match self._dice.choices(["good", "bad", "canceled"], [7, 2, 1])[0]:
            case "good":
                task_id = self._stage.submit(self._client, f"sleep {seconds:.2f}", "sleep 0.1", output=key)
                self.ends[task_id] = f"COMPLETE {key}"
            case "bad":
                task_id = self._stage.submit(self._client, f"sleep {seconds:.2f}; exit 3", "false", output=key)
                self.ends[task_id] = f"EXECUTOR_ERROR {key}"
            case _:
                task_id = self._stage.submit(self._client, "sleep 600")
                self._client.cancel(task_id)
                self.ends[task_id] = "CANCELED"

    def assert_right(self) -> list[dict[str, Any]]:
        """Fail unless each task is in its right end, with the exit code of its own program."""
        tasks = self._stage.assert_right(self._client, self.ends)
        for task in tasks:
            if task["state"] == "EXECUTOR_ERROR":
                assert [log["exit_code"] for log in task["logs"][-1]["logs"]] == [3], task
        return tasks
