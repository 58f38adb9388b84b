"""How an API server says no, one class each, made of its Status and carrying its words. Pure.

BackendError
|-- Refused                  an answer, and not yes: `code`, `reason`, the server's own message
|   |-- Invalid              400, 422  the object is wrong
|   |-- Unauthorized         401       whoever we are, it does not know us
|   |-- Forbidden            403       not allowed; `quota` where a quota is used up
|   |-- NotFound             404
|   |-- Conflict             409       changed meanwhile
|   |   `-- AlreadyExists    409       of that name: to be adopted
|   `-- Gone                 410       too long ago: list again
`-- BackendUnavailable
    `-- Unanswered           no answer, or none that says anything (429, 5xx), again and again; `retry_after_seconds`
"""

import msgspec

from tesk.compute.kubernetes.objects import Status
from tesk.errors import BackendError, BackendUnavailable

_SAID_CHARACTERS = 2000


class Refused(BackendError):
    """An answer that is not yes. `str()` is what the server said, behind `opening`."""

    opening = ""
    """What stands before the server's words where these say too little."""

    def __init__(self, code: int, status: Status) -> None:
        said = status.message or f"the API server of the cluster answered {code} {status.reason}".rstrip()
        super().__init__(f"{self.opening}{said}")
        self.code = code
        self.reason = status.reason
        self.status = status


class Invalid(Refused):
    """The object or the question is wrong."""


class Unauthorized(Refused):
    """The credentials are not known, or no longer."""

    opening = "the cluster does not know these credentials, or no longer: "


class Forbidden(Refused):
    """These credentials may not do it, or a rule of the namespace is against it."""

    @property
    def quota(self) -> bool:
        """Say whether a quota is used up: it works later, when something has ended."""
        return "exceeded quota" in str(self)

    @property
    def ending(self) -> bool:
        """Say whether the namespace is about to go."""
        causes = (self.status.details and self.status.details.causes) or ()
        return any(cause.reason == "NamespaceTerminating" for cause in causes)


class NotFound(Refused):
    """Nothing of that name is there."""


class Conflict(Refused):
    """It was changed by somebody else meanwhile, or is not the one that was meant."""


class AlreadyExists(Conflict):
    """One of that name is there already."""


class Gone(Refused):
    """The version that was asked for, or the next page, is no longer there: list again."""


class Unanswered(BackendUnavailable):
    """The API server cannot be asked now. `retry_after_seconds`: when it wants to be asked again, if it said so.

    `maybe_done`: what was asked may have been done all the same.
    """

    def __init__(self, sentence: str, retry_after_seconds: float | None = None, *, maybe_done: bool = False) -> None:
        super().__init__(sentence)
        self.retry_after_seconds = retry_after_seconds
        self.maybe_done = maybe_done


_BUSY = frozenset({429, 500, 502, 503, 504})
_BY_CODE: dict[int, type[Refused]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
}


def refusal(code: int, status: Status) -> Refused:
    """Return what an answer of HTTP status `code` is to be raised as."""
    if code == 409 and status.reason == "AlreadyExists":
        return AlreadyExists(code, status)
    return _BY_CODE.get(code, Refused)(code, status)


def no(code: int, status: Status, after_seconds: float | None) -> Refused | Unanswered:
    """Return what an answer of HTTP status `code` is raised as. What is busy (429) has done nothing."""
    if code not in _BUSY:
        return refusal(code, status)
    said = f"{code}: {status.message}" if status.message else str(code)
    return Unanswered(
        f"the API server of the cluster is busy, it answers {said}", after_seconds, maybe_done=code != 429
    )


def status_of(body: bytes) -> Status:
    """Read a Status; what is none (a proxy's page, a sentence) becomes its message, cut short."""
    try:
        return msgspec.json.decode(body, type=Status)
    except msgspec.MsgspecError:
        text = body[:_SAID_CHARACTERS].decode(errors="replace").strip()
        return Status(message="" if text.startswith("<") else text)
