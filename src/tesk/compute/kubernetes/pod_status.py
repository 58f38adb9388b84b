"""From what a pod shows to what was seen of its attempt. Pure: no clock, no cluster.

A pod is judged by its containers, by name, never by its phase alone or by position: others than ours may stand beside
them. See docs/kubernetes/traps.md.
"""

import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from math import inf
from time import gmtime, strftime

from msgspec import Struct
from msgspec.structs import replace

from tesk.compute.backend import Phase
from tesk.compute.kubernetes.layout import PREPARE
from tesk.compute.kubernetes.memo import Memo, Verdict, memo, verdict
from tesk.compute.kubernetes.objects import Condition, ContainerStatus, Event, Pod, Terminated
from tesk.compute.kubernetes.troubles import Trouble, of_container, of_volumes, place, worst
from tesk.pod import CLOSED, EXECUTOR, INPUTS, OUTPUTS
from tesk.settings import KubernetesSettings
from tesk.tes.amounts import amount

_ENDED_PHASES = frozenset({"Succeeded", "Failed"})
_LOST_NODE = "DeletionByTaintManager"
_LATE_SECONDS = 10.0
"""How long after its grace a pod of a lost node is waited for; and how long containers may end in a strange order."""
_LOST_SIGHT = frozenset({"Unknown", "ContainerStatusUnknown"})
"""What a runtime, or a kubelet, says of a container that ran before it was begun anew itself, and that it no longer finds."""
_CLAIM_SECONDS = 10.0
_CLAIM_WORDS = ("ephemeral volume controller", "unbound immediate PersistentVolumeClaims")
"""What a scheduler says of every pod whose volume has yet to be made; nobody hears of it for so many seconds."""
_DISK_WORDS = ("EmptyDir volume", "ephemeral local storage", "local ephemeral storage limit")


class Reading(Struct, frozen=True, kw_only=True):
    """What a pod shows. Seconds since the epoch.

    `over`: nothing of it runs any more, or will. Then `reported` says that its report, if there is one, decides; what
    stands in `phase`, `reason`, `final` and `ours` counts where there is none. `disturbed`: somebody else than its own containers ends it.
    `verdict`: it can come to nothing, and its pod is to be deleted.
    `waiting`: why it does not run yet. `trouble`: what is wrong and since when, to be handed in again with the next
    reading. `until`: when this would be read otherwise though the pod stays as it is. `stuck`: since when all its containers wait for nothing
    that they name, so that events may know more.
    """

    phase: Phase
    since: float
    over: bool = False
    reported: bool = False
    reason: str | None = None
    final: bool = False
    ours: bool = False
    waiting: str | None = None
    disturbed: bool = False
    verdict: Verdict | None = None
    trouble: tuple[str, float] = ("", 0.0)
    until: float = inf
    stuck: float | None = None


def read(
    pod: Pod,
    *,
    now: float,
    settings: KubernetesSettings,
    events: Sequence[Event] = (),
    trouble: tuple[str, float] | None = None,
    said: Verdict | None = None,
) -> Reading:
    """Read a pod. `events` are its own, where they were asked for; `trouble` is that of the last reading.

    `now` is by the clock of the cluster. `trouble` None: this server has never read it, and the pod's own times say since when.
    `said`: the verdict that was just written on it, if any.
    """
    over, until = _over(pod, now, settings)
    if over:
        return _end(pod, now, verdict(pod) or said)
    progress = _progress(pod, now)
    if is_disturbed(pod):
        return Reading(phase=progress[0], since=progress[1], disturbed=True, until=until)
    found = worst(_troubles(pod, events, settings))
    if found is None:
        waiting, until = _waiting(pod, settings), progress[1] + _CLAIM_SECONDS
        if waiting is not None and now < until and any(words in waiting for words in _CLAIM_WORDS):
            return Reading(phase=progress[0], since=progress[1], until=until)
        return Reading(phase=progress[0], since=progress[1], waiting=waiting, stuck=_stuck(pod))
    if trouble is None:
        since = now if found.began is None else min(now, found.began)
    else:
        since = trouble[1] if trouble[0] == found.kind else now
    due = since + found.seconds
    if now >= due:
        doom = Verdict(phase=Phase.SYSTEM_FAILED, reason=_sentence(found.sentence), final=found.final)
        # Until the pod is deleted it is read again, and its time stays over.
        return Reading(phase=progress[0], since=progress[1], verdict=doom, trouble=(found.kind, since))
    before = progress[0] in (Phase.WAITING, Phase.STAGING)
    return Reading(
        phase=progress[0],
        since=progress[1],
        waiting=f"{found.sentence} (waited for until {_clock(due)})" if before else None,
        trouble=(found.kind, since),
        until=due,
        stuck=_stuck(pod),
    )


def executors(pod: Pod) -> list[ContainerStatus]:
    """Return the executors, in order."""
    ours = [status for status in pod.status.container_statuses if _number(status.name) is not None]
    return sorted(ours, key=lambda status: _number(status.name) or 0)


def container(pod: Pod, name: str) -> ContainerStatus:
    """Return one container; of one that is not there (yet) nothing is known."""
    return next((status for status in pod.status.container_statuses if status.name == name), ContainerStatus(name=name))


def has_ended(pod: Pod) -> bool:
    """Say whether it ended as a whole: then it counts no more in a quota."""
    return pod.status.phase in _ENDED_PHASES


def has_begun(pod: Pod) -> bool:
    """Say whether an executor may have run."""
    inputs = container(pod, INPUTS).state.terminated
    if inputs is None or inputs.message == CLOSED:
        return False
    return inputs.exit_code == 0 or inputs.reason in _LOST_SIGHT


def is_scheduled(pod: Pod) -> bool:
    """Say whether it has a node."""
    return bool(pod.spec.node_name)


def is_disturbed(pod: Pod) -> bool:
    """Say whether somebody else than its own containers ends a pod: who deletes it, its node, a scheduler."""
    deleted = pod.metadata.deletion_timestamp is not None
    return deleted or bool(pod.status.reason) or _condition(pod, "DisruptionTarget") is not None


# -- how far it is ------------------------------------------------------------------------------------------------------


def _progress(pod: Pod, now: float) -> tuple[Phase, float]:
    """Return the phase by the containers' ends, and since when."""
    created = _seconds(pod.metadata.creation_timestamp, now)
    inputs, outputs, ours = _ended(container(pod, INPUTS)), _ended(container(pod, OUTPUTS)), executors(pod)
    ends = [_ended(status) for status in ours]
    last = max((_seconds(end.finished_at, now) for end in ends if end is not None), default=now)
    # All of a pod that is deleted while an image is waited for ends as well, and nothing of it ran.
    if inputs is not None and has_begun(pod):
        if outputs is not None or (ends and all(ends)):
            return Phase.UPLOADING, last
        return Phase.RUNNING, _seconds(inputs.finished_at, now)
    if is_scheduled(pod):
        scheduled = _condition(pod, "PodScheduled")
        return Phase.STAGING, _seconds(scheduled.last_transition_time if scheduled else None, created)
    return Phase.WAITING, created


def _waiting(pod: Pod, settings: KubernetesSettings) -> str | None:
    if is_scheduled(pod):
        return None
    # Present from the first try on, and `False` as long as there is no node.
    said = next((one for one in pod.status.conditions if one.type == "PodScheduled" and one.status == "False"), None)
    if said is None:
        return None
    if said.reason == "SchedulingGated":
        return "It waits to be admitted (SchedulingGated)"
    words = " ".join((said.message or said.reason or "").split())
    return f"{words}{_asked(pod, settings)}" if words else None


def _asked(pod: Pod, settings: KubernetesSettings) -> str:
    """What a node would have to have free, which a scheduler does not say."""
    known = memo(pod)
    if not known.cpu_cores:
        return ""
    disk = f", {amount(known.disk_bytes)} of disk" * bool(known.disk_bytes)
    return (
        f" (The task asks for {known.cpu_cores:g} cores, {amount(known.ram_bytes)} of memory{disk}; "
        f"its stager for {settings.stager_cpu_cores:g} cores, {amount(settings.stager_ram_gb * 1e9)}.)"
    )


def _stuck(pod: Pod) -> float | None:
    """Since when it has a node, and no container of it ever ran."""
    everything = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    if not is_scheduled(pod) or any(status.state.running or status.state.terminated for status in everything):
        return None
    scheduled = _condition(pod, "PodScheduled")
    return _seconds(scheduled.last_transition_time if scheduled else None, _seconds(pod.metadata.creation_timestamp, 0))


def _tried(pod: Pod, name: str) -> float | None:
    """When a kubelet first tried to start a container: it goes from one to the next, and does not wait for what fails."""
    starts: dict[int, float] = {}
    for status in pod.status.container_statuses:
        state = status.state.running or status.state.terminated
        if (place := _place(status.name)) is not None and state is not None and _seconds(state.started_at, 0) > 0:
            starts[place] = _seconds(state.started_at, 0)
    here = _place(name)
    after = [start for place, start in starts.items() if here is not None and place > here]
    before = [start for place, start in starts.items() if here is not None and place < here]
    if after or before:
        return min(after) if after else max(before)
    scheduled = _condition(pod, "PodScheduled")
    time = scheduled.last_transition_time if scheduled is not None else None
    return time.timestamp() if time is not None else None


def _place(name: str) -> int | None:
    """Return the place of a container of ours in the order in which they are started."""
    return {INPUTS: -1, OUTPUTS: sys.maxsize}.get(name, _number(name))


def _troubles(pod: Pod, events: Sequence[Event], settings: KubernetesSettings) -> Iterator[Trouble]:
    if not is_scheduled(pod):
        return
    images = memo(pod).images
    ours, inputs, outputs = executors(pod), container(pod, INPUTS), container(pod, OUTPUTS)
    for status in (*pod.status.init_container_statuses, inputs, outputs, *ours):
        number = _number(status.name)
        image = images[number] if number is not None and number < len(images) else None
        found = of_container(status, image, settings)
        # The image of our own that brings the shim is waited for by executors, too; the stager's containers tell of it.
        if found is not None and not (number is not None and settings.stager_image in found.sentence):
            yield replace(found, began=_tried(pod, status.name))
    if (stuck := _stuck(pod)) is not None and (found := of_volumes(events, settings)) is not None:
        yield replace(found, began=stuck)
    if _ended(inputs) is None:
        for status in ours:
            if (early := _ended(status)) is not None:
                sentence = f"{place(status.name)}: its container ended before its turn: {_said(early)}"
                yield Trouble(kind="early", sentence=sentence, seconds=_LATE_SECONDS)
    begun = _ended(inputs)
    if begun is not None and _never_ran(begun) and _ended(outputs) is None:
        # It took no lock, so `outputs` waits for it for ever. One that ran has left a word, or its lock.
        yield Trouble(
            kind="inputs", sentence=f"The container inputs could not start: {_said(begun)}", seconds=_LATE_SECONDS
        )
    late = _ended(outputs)
    if late is not None and not all(_ended(status) for status in (inputs, *ours)):
        yield Trouble(
            kind="outputs", sentence=f"The container outputs ended too early: {_said(late)}", seconds=_LATE_SECONDS
        )


# -- its end --------------------------------------------------------------------------------------------------------------


def _over(pod: Pod, now: float, settings: KubernetesSettings) -> tuple[bool, float]:
    """Say whether nothing of it runs, and when that would be so though it stays as it is."""
    if has_ended(pod):
        return True, inf
    ours = [container(pod, INPUTS), *executors(pod), container(pod, OUTPUTS)]
    if len(ours) > 2 and all(_ended(status) for status in ours):
        return True, inf  # what others put beside them may run for ever
    deletion = pod.metadata.deletion_timestamp
    if deletion is None:
        return False, inf
    if not is_scheduled(pod):
        return True, inf
    # The kubelet tells when all has ended. Of one that is silent nobody knows: its node is lost, or will be.
    disruption = _condition(pod, "DisruptionTarget")
    lost = disruption is not None and disruption.reason == _LOST_NODE
    due = deletion.timestamp() + (_LATE_SECONDS if lost else max(_LATE_SECONDS, settings.node_lost_seconds))
    return now >= due, due


def _end(pod: Pod, now: float, said: Verdict | None) -> Reading:
    everything = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    ends = [end for status in everything if (end := _ended(status)) is not None]
    since = max((_seconds(end.finished_at, now) for end in ends), default=now)
    disturbed = is_disturbed(pod)
    reported = _ended(container(pod, OUTPUTS)) is not None
    if said is not None:
        return Reading(
            phase=said.phase,
            since=since,
            over=True,
            reported=reported,
            reason=said.reason,
            final=said.final,
            ours=said.ours,
            disturbed=disturbed,
        )
    phase, reason, final = _why(pod, disturbed)
    return Reading(
        phase=phase, since=since, over=True, reported=reported, reason=reason, final=final, disturbed=disturbed
    )


def _why(pod: Pod, disturbed: bool) -> tuple[Phase, str, bool]:
    """Return why it ended, where it does not tell itself."""
    status = pod.status
    message = " ".join((status.message or "").split())
    if status.reason == "Evicted":
        if any(words in message for words in _DISK_WORDS):
            return Phase.SYSTEM_FAILED, _disk_full(memo(pod), message), True
        return Phase.PREEMPTED, _sentence(f"The pod was evicted from its node: {message}"), False
    for init in status.init_container_statuses:
        end = _ended(init)
        if end is not None and end.exit_code != 0 and not disturbed:
            return Phase.SYSTEM_FAILED, _sentence(f"{_init(init.name)} failed: {_said(end)}"), False
    if status.reason and _condition(pod, "DisruptionTarget") is None:
        # A kubelet's own no: OutOfcpu, NodeAffinity, NodeShutdown, Terminated, UnexpectedAdmissionError ...
        words = f"{status.reason}: {message}" if message else status.reason
        return Phase.PREEMPTED, _sentence(f"Its node did not keep the pod: {words}"), False
    if disturbed:
        return Phase.PREEMPTED, _disturbance(pod, message), False
    end = _ended(container(pod, OUTPUTS))
    if end is None:
        return Phase.SYSTEM_FAILED, "The pod ended without its container outputs.", False
    if end.reason in _LOST_SIGHT:
        return Phase.PREEMPTED, f"The node {pod.spec.node_name} was started anew, and lost the pod's containers.", False
    return Phase.SYSTEM_FAILED, _sentence(f"The pod ended without a report: {OUTPUTS}: {_said(end)}"), False


def _disturbance(pod: Pod, message: str) -> str:
    node = pod.spec.node_name
    disruption = _condition(pod, "DisruptionTarget")
    said = " ".join((disruption.message or "").split()) if disruption is not None else ""
    match disruption.reason if disruption is not None else None:
        case "DeletionByTaintManager":
            return f"The node {node} was lost, and the pod with it."
        case "DeletionByPodGC":
            return f"The node {node} is gone, and the pod with it."
        case "PreemptionByScheduler":
            return _sentence(f"The pod had to make room for one of higher priority: {said}")
        case "EvictionByEvictionAPI":
            return _sentence(f"The pod was evicted from its node: {said}")
        case None:
            return "The pod was deleted by somebody else."
        case _:
            return _sentence(f"The pod was ended by its node: {message or said}")


def _disk_full(known: Memo, message: str) -> str:
    if known.disk_bytes:
        return f"disk full (limit {known.disk_bytes / 1e9:.3g} GB)"
    return f"disk full ({message.rstrip('. ')}; the task says no disk_gb, which could be more)"


def _init(name: str) -> str:
    return "What prepares the pod" if name == PREPARE else f"The init container {name}, which is not TESK's,"


def _said(end: Terminated) -> str:
    """What is known of a container's end."""
    words = " ".join((end.message or "").split())
    reason = f" ({end.reason})" if end.reason and end.reason not in ("Error", "Completed") else ""
    # A message in JSON is a report: no words for people.
    return f"exit code {end.exit_code}{reason}{f', {words}' if words and not words.startswith('{') else ''}"


def _clock(at: float) -> str:
    return strftime("%H:%M:%S UTC", gmtime(at))


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!")) else f"{text}."


def _never_ran(end: Terminated) -> bool:
    """Say whether a container's process was never there; runtimes say so by no time, or by the first of all."""
    return end.exit_code != 0 and _seconds(end.started_at, 0) <= 0 and end.reason not in _LOST_SIGHT


def _ended(status: ContainerStatus) -> Terminated | None:
    return status.state.terminated


def _condition(pod: Pod, name: str) -> Condition | None:
    return next((one for one in pod.status.conditions if one.type == name and one.status == "True"), None)


def _number(name: str) -> int | None:
    number = name.removeprefix(EXECUTOR.format(""))
    return int(number) if number.isdecimal() and name == EXECUTOR.format(number) else None


def _seconds(time: datetime | None, otherwise: float) -> float:
    return time.timestamp() if time is not None else otherwise
