"""What a task may ask of the cluster, and what that does to its pod: the settings' tables. Pure.

`resources` and `backend_parameters` say what a task asks for, never a tag; a tag only chooses a namespace that the settings
list for it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

from msgspec import Struct

from tesk.compute.kubernetes.checked import check_patch, read_template
from tesk.compute.kubernetes.template import Document
from tesk.compute.plan import BACKEND_PARAMETERS, GPU_COUNT, Plan
from tesk.errors import CannotRun, Problem, StartError
from tesk.settings import KubernetesSettings, ParameterRule
from tesk.tes.task import Resources, Task

GPU_EXECUTOR = "gpu_executor"
"""Which executor gets the GPUs, counted from 0; needed where a task has several."""

_RESOURCES = Resources()
_WHOLE = re.compile(r"\d{1,4}")
_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,9})?")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_BESIDE = ("queue", "storage_class", "volume_gb")
"""What a patch may say that is no part of a pod."""


class Asked(Struct, frozen=True, kw_only=True):
    """What a task asks for, as far as it may: patches in the order in which they are merged, GPUs by executor.

    "" and 0: nothing was asked for. `namespace` "": that of the server.
    """

    patches: tuple[Document, ...] = ()
    gpus: dict[int, int] = {}
    namespace: str = ""
    queue: str = ""
    storage_class: str = ""
    volume_gb: float = 0.0
    zones: tuple[str, ...] = ()


class _Wanted(Struct, frozen=True, kw_only=True):
    """What of a task counts here. `keys` are the parameters' keys as they were written."""

    caller: str
    parameters: dict[str, str]
    keys: dict[str, str]
    preemptible: bool
    zones: tuple[str, ...]
    tags: dict[str, str]
    executors: int


class Policy:
    """The tables of the settings, checked. Raises StartError for what no pod can be given.

    `template` is the text of `pod_template`; see `template_text`.
    """

    def __init__(self, settings: KubernetesSettings, template: str = "") -> None:
        self._settings = settings
        self._template = read_template(template)
        self._rules: dict[str, list[ParameterRule]] = {}
        for index, rule in enumerate(settings.parameters):
            name = rule.name.lower()
            if name in BACKEND_PARAMETERS | {GPU_COUNT, GPU_EXECUTOR}:
                raise StartError(
                    f"kubernetes.parameters[{index}]: {rule.name} has a meaning already; take another name"
                )
            check_patch(_inside(rule.patch), f"kubernetes.parameters[{index}].patch")
            self._rules.setdefault(name, []).append(rule)
        check_patch(_inside(settings.preemptible), "kubernetes.preemptible")

    @property
    def parameters(self) -> frozenset[str]:
        """The backend parameters that are supported, in lower case."""
        gpus = {GPU_COUNT, GPU_EXECUTOR} if self._settings.gpu_resource else set()
        return BACKEND_PARAMETERS | self._rules.keys() | gpus

    def check(self, task: Task, caller: str) -> tuple[Problem, ...]:
        """Return all that a caller's task asks for and may not, each with what it may."""
        asked = task.resources or _RESOURCES
        given = asked.backend_parameters or {}
        wanted = _Wanted(
            caller=caller,
            parameters={key.lower(): value for key, value in given.items()},
            keys={key.lower(): key for key in given},
            preemptible=bool(asked.preemptible),
            zones=asked.zones or (),
            tags=task.tags or {},
            executors=len(task.executors),
        )
        problems: list[Problem] = []
        self._ask(wanted, problems)
        return tuple(problems)

    def asked(self, plan: Plan) -> Asked:
        """Return what a plan asks for. Raises CannotRun: the settings may be others than when its task was taken."""
        wanted = _Wanted(
            caller=plan.transfer.caller,
            parameters=plan.parameters,
            keys={key: key for key in plan.parameters},
            preemptible=plan.preemptible,
            zones=plan.zones,
            tags=plan.tags,
            executors=len(plan.steps),
        )
        problems: list[Problem] = []
        asked = self._ask(wanted, problems)
        if problems:
            raise CannotRun(" ".join(f"{each.path}: {each.detail}." for each in problems))
        return asked

    def _ask(self, wanted: _Wanted, problems: list[Problem]) -> Asked:
        patches: list[Document] = [self._template] if self._template else []
        if wanted.preemptible and self._settings.preemptible:
            patches.append(self._settings.preemptible)
        patches.extend(self._of_parameters(wanted, problems))
        beside = {key: value for patch in patches for key, value in patch.items() if key in _BESIDE}
        return Asked(
            patches=tuple(part for part in map(_inside, patches) if part),
            gpus=self._gpus(wanted, problems),
            namespace=self._namespace(wanted, problems),
            queue=str(beside.get("queue", self._settings.queue)),
            storage_class=str(beside.get("storage_class", "")),
            volume_gb=_number(beside.get("volume_gb", 0)) or 0.0,
            zones=self._zones(wanted, problems),
        )

    def _of_parameters(self, wanted: _Wanted, problems: list[Problem]) -> Iterator[Document]:
        """The patches of what was asked for, in the order of the settings."""
        for name, rules in self._rules.items():
            if (value := wanted.parameters.get(name)) is None:
                continue
            theirs = [rule for rule in rules if _may(rule.callers, wanted.caller)]
            rule = next((rule for rule in theirs if not rule.values or _fits(value, rule.values)), None)
            patch = filled(rule.patch, value) if rule is not None else None
            if rule is None:
                wrong = _not_one_of(value, [each for rule in theirs for each in rule.values])
            elif patch is None or _number(patch.get("volume_gb", 0)) is None:
                wrong = f"must be a number, not {value!r}"
            else:
                yield patch
                continue
            problems.append(Problem(f"resources.backend_parameters.{wanted.keys[name]}", wrong))

    def _gpus(self, wanted: _Wanted, problems: list[Problem]) -> dict[int, int]:
        count, named = wanted.parameters.get(GPU_COUNT), wanted.parameters.get(GPU_EXECUTOR)
        if count is None or not self._settings.gpu_resource:
            return {}
        where = f"resources.backend_parameters.{wanted.keys[GPU_COUNT]}"
        if not _WHOLE.fullmatch(count):
            problems.append(Problem(where, f"must be a whole number of GPUs, not {count!r}"))
            return {}
        if int(count) == 0:
            return {}
        if named is None and wanted.executors > 1:
            wrong = f"GPUs belong to one executor: name it by {GPU_EXECUTOR}, 0 to {wanted.executors - 1}"
            problems.append(Problem(where, wrong))
            return {}
        if named is not None and not (_WHOLE.fullmatch(named) and int(named) < wanted.executors):
            where = f"resources.backend_parameters.{wanted.keys[GPU_EXECUTOR]}"
            wrong = f"must be the number of an executor, 0 to {wanted.executors - 1}, not {named!r}"
            problems.append(Problem(where, wrong))
            return {}
        return {int(named or 0): int(count)}

    def _zones(self, wanted: _Wanted, problems: list[Problem]) -> tuple[str, ...]:
        if not self._settings.zone_label:
            return ()
        zones = tuple(zone for zone in wanted.zones if zone)
        for index, zone in enumerate(wanted.zones):
            if zone and self._settings.zones and not _fits(zone, self._settings.zones):
                problems.append(Problem(f"resources.zones[{index}]", _not_one_of(zone, self._settings.zones)))
            elif zone and not _LABEL.fullmatch(zone):
                problems.append(Problem(f"resources.zones[{index}]", f"{zone!r} is no name of a zone"))
        return zones

    def _namespace(self, wanted: _Wanted, problems: list[Problem]) -> str:
        for tag in dict.fromkeys(row.tag for row in self._settings.tag_namespaces if row.tag in wanted.tags):
            theirs = [
                row for row in self._settings.tag_namespaces if row.tag == tag and _may(row.callers, wanted.caller)
            ]
            found = next((row for row in theirs if row.value == wanted.tags[tag]), None)
            if found is not None:
                return found.namespace
            problems.append(Problem(f"tags.{tag}", _not_one_of(wanted.tags[tag], [row.value for row in theirs])))
        return self._settings.namespaces.get(wanted.caller, self._settings.namespace)


def filled(patch: Mapping[str, object], value: str) -> Document | None:
    """Return a patch with a value in it: `$value` in texts and keys is its text, a text `$number` becomes its number.

    None where it is no number.
    """
    wants_number = False

    def fill(part: object) -> object:
        nonlocal wants_number
        match part:
            case "$number":
                wants_number = True
                number = _number(value)
                return int(number) if number is not None and number == int(number) else number
            case str():
                return part.replace("$value", value)
            case dict():
                return {fill(key) if "$value" in key else key: fill(each) for key, each in part.items()}
            case list() | tuple():
                return [fill(each) for each in part]
            case _:
                return part

    result = {key: fill(part) for key, part in patch.items()}
    return None if wants_number and _number(value) is None else result


def _number(value: object) -> float | None:
    return float(str(value)) if _NUMBER.fullmatch(str(value)) else None


def _may(callers: tuple[str, ...], caller: str) -> bool:
    return not callers or caller in callers


def _fits(value: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(value, pattern) for pattern in patterns)


def _not_one_of(value: str, values: Iterable[str]) -> str:
    allowed = ", ".join(dict.fromkeys(values))
    return f"{value!r} may not be used here; there are: {allowed}" if allowed else f"{value!r}: you may use none here"


def _inside(patch: Mapping[str, object]) -> Document:
    """What of a patch is part of a pod."""
    return {key: part for key, part in patch.items() if key not in _BESIDE}
