"""What keeps the containers of a pod from running, and how long that is waited for. Pure."""

import re
from collections.abc import Iterable, Iterator
from math import inf

from msgspec import Struct

from tesk.compute.kubernetes.objects import ContainerStatus, Event
from tesk.pod import EXECUTOR
from tesk.settings import KubernetesSettings


class Trouble(Struct, frozen=True, kw_only=True):
    """Something is wrong. `sentence` for a person; `seconds`: how long it may go on; `final`: another attempt cannot mend it.

    `kind`: what the time is counted for, from when it is first seen. `began`: when that was by the pod's own times, for a
    server that comes later; None where they do not say.
    """

    kind: str
    sentence: str
    seconds: float
    final: bool = False
    began: float | None = None


# What no time mends: the name is wrong, or was never to be fetched.
_NEVER = frozenset({"InvalidImageName", "ErrImageNeverPull"})
_IMAGE = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed"}
)
_NORMAL = frozenset({"", "ContainerCreating", "PodInitializing"})
# What registries and container runtimes say of an image that is not there, or not for us.
_NOT_THERE = ("not found", "manifest unknown", "does not exist", "pull access denied", "no match for platform")
_BACK_OFF = re.compile(r'Back-off pulling image "[^"]*": (?=\w+: )')
_FOR_GOOD = ("runAsNonRoot", "non-numeric user")
_MOUNTS = frozenset({"FailedMount", "FailedAttachVolume", "FailedMapVolume"})


def place(name: str) -> str:
    """Say which container is meant, as the task has it."""
    number = name.removeprefix(EXECUTOR.format(""))
    return f"executors[{number}]" if number.isdecimal() and name == EXECUTOR.format(number) else f"container {name}"


def of_container(status: ContainerStatus, image: str | None, settings: KubernetesSettings) -> Trouble | None:
    """Return what keeps a container from running, None where nothing does. `image`: as the task names it."""
    waiting = status.state.waiting
    reason = (waiting.reason if waiting else None) or ""
    if waiting is None or reason in _NORMAL:
        return None
    said = " ".join((waiting.message or "").split())
    where = f"{place(status.name)}: {f'image {image}: ' if image else ''}"
    if reason in _NEVER:
        return Trouble(kind=reason, sentence=f"{where}{_words(reason, said)}", seconds=0, final=True)
    if reason in _IMAGE:
        # Between two tries the message is "Back-off pulling image", and what is wrong stands behind it, or nowhere.
        # So one trouble is one sentence, whenever somebody looks.
        final = any(words in said for words in _NOT_THERE)
        wrong = _BACK_OFF.sub("", said)
        sentence = f"{where}{_words(reason, said) if wrong == said else wrong}"
        return Trouble(kind="image", sentence=sentence, seconds=settings.image_wait_seconds, final=final)
    final = any(words in said for words in _FOR_GOOD)
    sentence = f"{place(status.name)}: {_words(reason, said)}"
    return Trouble(kind="create", sentence=sentence, seconds=settings.error_grace_seconds, final=final)


def of_volumes(events: Iterable[Event], settings: KubernetesSettings) -> Trouble | None:
    """Return what keeps a volume from being mounted, by the newest event that says so."""
    said = [event for event in events if event.reason in _MOUNTS and event.message]
    if not said:
        return None
    newest = max(said, key=_when)
    return Trouble(
        kind="volume",
        sentence=f"A volume cannot be mounted: {' '.join(newest.message.split())}",
        seconds=settings.volume_wait_seconds,
    )


def worst(troubles: Iterator[Trouble]) -> Trouble | None:
    """Return the one that ends the attempt first."""
    return min(troubles, key=lambda trouble: (trouble.seconds, not trouble.final), default=None)


def _when(event: Event) -> float:
    times = (event.event_time, event.last_timestamp, event.first_timestamp)
    return max((time.timestamp() for time in times if time is not None), default=-inf)


def _words(reason: str, said: str) -> str:
    return f"{reason}: {said}" if said else reason
