"""What every backend on one machine can be set to: how much of the machine is offered, and how its tasks end."""

from typing import Annotated

from msgspec import Struct

from tesk.settings.kinds import Amount, Positive, Seconds, says


class MachineSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What backends on one machine have in common."""

    overcommit_cpu: Annotated[Amount, says("Cores offered for each core of the machine.")] = 1.0
    cpu_cores: Annotated[Amount, says("Cores offered; 0: all of the machine, times `overcommit_cpu`.")] = 0.0
    ram_gb: Annotated[Amount, says("Memory offered, in 10^9 bytes; 0: the machine's less 1.")] = 0.0
    disk_gb: Annotated[Amount, says("Disk offered, in 10^9 bytes; 0: what is free at start.")] = 0.0
    processes_limit: Annotated[
        Positive, says("Most processes and threads of one task, where a cgroup can be made.")
    ] = 4096
    grace_seconds: Annotated[Seconds, says("Between TERM and KILL.")] = 10.0
    disk_check_seconds: Annotated[Seconds, says("How often the use of disk is looked at.")] = 2.0
    host_lost_seconds: Annotated[
        Seconds, says("How long attempts of another host whose server is gone are waited for.")
    ] = 300.0
