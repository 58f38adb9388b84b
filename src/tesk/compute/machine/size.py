"""How large this machine is to tasks, and sizes in words."""

import os
import shutil
from pathlib import Path

from tesk.compute.backend import Capacity
from tesk.settings import MachineSettings

_RESERVED_BYTES = 1_000_000_000


def capacity(settings: MachineSettings, work: Path, gpus: int = 0) -> Capacity:
    """Return what this machine offers to tasks in all."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cores = settings.cpu_cores or len(os.sched_getaffinity(0)) * settings.overcommit_cpu
    return Capacity(
        cpu_cores=cores,
        ram_bytes=round(settings.ram_gb * 1e9) or max(0, memory - _RESERVED_BYTES),
        disk_bytes=round(settings.disk_gb * 1e9) or shutil.disk_usage(work).free,
        gpus=gpus,
    )


def gigabytes(size_bytes: int) -> str:
    """Say a size as TES does, in 10^9 bytes."""
    return f"{size_bytes / 1e9:.3g} GB"
