"""Give GPUs to attempts, each to one at a time, by their CDI names."""

from tesk.compute.backend import AttemptId
from tesk.compute.plan import GPU_COUNT, Plan, is_count
from tesk.errors import BackendUnavailable, CannotRun


class Devices:
    """`offered` are those of the machine that tasks may have."""

    def __init__(self, offered: tuple[str, ...]) -> None:
        self._offered = offered
        self._given: dict[AttemptId, tuple[str, ...]] = {}

    def give(self, attempt: AttemptId, plan: Plan) -> tuple[str, ...]:
        """Return the devices of an attempt, as many as its plan says. Raises CannotRun, and BackendUnavailable while others have them."""
        asked = plan.parameters.get(GPU_COUNT, "0")
        if not is_count(asked):
            raise CannotRun(f"{GPU_COUNT}: {asked!r} is no number of GPUs.")
        if int(asked) > len(self._offered):
            raise CannotRun(f"{GPU_COUNT}: {asked} GPUs are more than the {len(self._offered)} that there are.")
        taken = {device for devices in self._given.values() for device in devices}
        free = [device for device in self._offered if device not in taken]
        if int(asked) > len(free):
            raise BackendUnavailable(f"Attempt {attempt} waits for {asked} GPUs; {len(free)} are free")
        given = tuple(free[: int(asked)])
        self.keep(attempt, given)
        return given

    def keep(self, attempt: AttemptId, devices: tuple[str, ...]) -> None:
        """Know that an attempt has devices: a server before us gave them."""
        if devices:
            self._given[attempt] = devices

    def free(self, attempt: AttemptId) -> None:
        """Take back what an attempt had, if anything."""
        self._given.pop(attempt, None)
