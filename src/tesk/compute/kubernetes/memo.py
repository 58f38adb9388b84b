"""What stands in a pod's annotations for whoever looks at it later, another server perhaps. Pure."""

from typing import Final

import msgspec
from msgspec import Struct

from tesk.compute.backend import Phase
from tesk.compute.kubernetes.objects import Pod
from tesk.compute.plan import Plan

MEMO: Final = "tesk/memo"
VERDICT: Final = "tesk/verdict"
FORGOTTEN: Final = "tesk/forgotten"
"""Its result is stored and nothing of it counts any more; the pod itself is kept for people, from this time on (seconds)."""


class Memo(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What must be known of a task to read its pod. `images` as the task names them, `ignored` executors may fail. Bytes.

    `cpu_cores` 0: not known, as of a pod of an older server.
    """

    images: tuple[str, ...] = ()
    ignored: tuple[int, ...] = ()
    cpu_cores: float = 0
    ram_bytes: int = 0
    disk_bytes: int = 0
    tail_bytes: int = 65536


class Verdict(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an attempt is to be seen once nothing of it runs, written down before its pod is deleted."""

    phase: Phase
    reason: str
    final: bool = False
    ours: bool = False


_memo = msgspec.json.Decoder(Memo).decode
_verdict = msgspec.json.Decoder(Verdict).decode


def memo_of(plan: Plan) -> Memo:
    """Return what is written down of a plan."""
    return Memo(
        images=tuple(step.image for step in plan.steps),
        ignored=tuple(step.index for step in plan.steps if step.ignore_error),
        cpu_cores=plan.cpu_cores,
        ram_bytes=plan.ram_bytes,
        disk_bytes=plan.disk_bytes,
        tail_bytes=plan.tail_bytes,
    )


def memo(pod: Pod) -> Memo:
    """Return what was written down; where somebody took it away, nothing is known."""
    try:
        return _memo(pod.metadata.annotations.get(MEMO, "{}"))
    except (msgspec.MsgspecError, RecursionError):
        return Memo()


def verdict(pod: Pod) -> Verdict | None:
    """Return the verdict that stands on a pod."""
    try:
        return _verdict(pod.metadata.annotations[VERDICT])
    except (KeyError, msgspec.MsgspecError, RecursionError):
        return None


def text(value: Memo | Verdict) -> str:
    """Return what stands in the annotation."""
    return msgspec.json.encode(value).decode()
