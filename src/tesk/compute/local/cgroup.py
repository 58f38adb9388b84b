"""Hold an attempt's memory, processes and share of the cores, by whichever kind of control group this machine gives us."""

from typing import Protocol


class Cgroup(Protocol):
    """One attempt's group."""

    def add(self, pid: int) -> None:
        """Put a process in. From any thread."""

    def ran_out(self) -> bool:
        """Say whether the kernel has killed something in it for want of memory."""

    def remove(self) -> None:
        """Remove it, once it is empty."""


class Cgroups(Protocol):
    """Where groups are made."""

    def make(self, name: str, *, ram_bytes: int, cpu_cores: float) -> Cgroup | None:
        """Make a group, None where this machine gives us none."""


class NoCgroups:
    """A machine that lets us make none: memory is counted, not held."""

    def make(self, name: str, *, ram_bytes: int, cpu_cores: float) -> Cgroup | None:  # noqa: ARG002  the Protocol's
        """There is none."""
        return None


def gigabytes(size_bytes: int) -> str:
    """Say a size as TES does, in 10^9 bytes."""
    return f"{size_bytes / 1e9:.3g} GB"
