"""Everything that can go wrong, in one tree.

TeskError
|-- RequestError              an answer of HTTP; `status` says which
|   |-- BadRequest            400  with all problems
|   |-- Unauthenticated       401
|   |-- Forbidden             403
|   |-- NotFound              404
|   |-- Conflict              409
|   |-- TooLarge              413
|   |-- UnsupportedMedia      415
|   |-- Unprocessable         422  the same Idempotency-Key with another body
|   |-- Overloaded            429  with Retry-After
|   `-- Unavailable           503  the database is gone; with Retry-After
|-- StartError                the program cannot start; the message is for a person
|   |-- SettingsError         a setting is wrong, or unknown
|   |-- StoreInUse            another server has this SQLite file
|   `-- StoreTooNew           the database was written by a newer program
|-- LeaseLost                 another server took over; nothing more may be written
|-- TransferError             data in or out
|   |-- TransferRefused       will never work as asked: not allowed, not there, no such scheme
|   `-- TransferFailed        might work another time: resets, 5xx, a size that does not fit
|-- BackendError              where tasks run
|   |-- CannotRun             this task will never run here, and why
|   `-- BackendUnavailable    ask again later
`-- ClientError               what a client of a TES server meets, beside the answers above
    |-- BadDocument           what a person wrote is not right: file, line, field
    |-- Unreachable           no connection, or no answer in time
    |-- StrangeAnswer         an answer that is not TES
    |-- NotEnded              waited for, in vain
    `-- EventsMissed          some events are not kept, or are of a database that was put back from a backup
"""

from typing import ClassVar, NamedTuple


class Problem(NamedTuple):
    """One thing wrong in a request: where (a JSON path such as `executors[0].image`) and what would be right."""

    path: str
    detail: str


class TeskError(Exception):
    """Something that TESK foresaw; `str()` is a sentence for the person who asked."""


class RequestError(TeskError):
    """What a request is answered with, other than success."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, retry_after_seconds: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds


class BadRequest(RequestError):
    status = 400
    title = "Bad request"

    def __init__(self, detail: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(detail)
        self.problems = problems


class Unauthenticated(RequestError):
    status = 401
    title = "Not authenticated"


class Forbidden(RequestError):
    status = 403
    title = "Forbidden"


class NotFound(RequestError):
    status = 404
    title = "Not found"


class Conflict(RequestError):
    status = 409
    title = "Conflict"


class TooLarge(RequestError):
    status = 413
    title = "Too large"


class UnsupportedMedia(RequestError):
    status = 415
    title = "Unsupported media type"


class Unprocessable(RequestError):
    status = 422
    title = "Unprocessable"


class Overloaded(RequestError):
    status = 429
    title = "Too many requests"


class Unavailable(RequestError):
    status = 503
    title = "Unavailable"


class StartError(TeskError):
    """The program cannot start."""


class SettingsError(StartError):
    """A setting is wrong or unknown."""


class StoreInUse(StartError):
    """Another server has this database file open."""


class StoreTooNew(StartError):
    """The database was written by a newer program."""


class LeaseLost(TeskError):
    """The lease of this server ran out and another server may have taken its tasks."""


class TransferError(TeskError):
    """Data could not be brought in or taken out."""


class TransferRefused(TransferError):
    """It will never work as asked; trying again is of no use."""


class TransferFailed(TransferError):
    """It did not work this time."""


class BackendError(TeskError):
    """The place where tasks run says no."""


class CannotRun(BackendError):
    """The task will never run here."""


class BackendUnavailable(BackendError):
    """The backend cannot be asked right now."""


class ClientError(TeskError):
    """A client could not do what it was asked to."""


class BadDocument(ClientError):
    """What a person wrote cannot be sent."""


class Unreachable(ClientError):
    """No answer. `sent` says whether the request may have arrived all the same."""

    def __init__(self, detail: str, *, sent: bool) -> None:
        super().__init__(detail)
        self.sent = sent


class StrangeAnswer(ClientError):
    """An answer came that is not TES."""


class NotEnded(ClientError):
    """A task did not end in the time that was given."""


class EventsMissed(ClientError):
    """Not every event behind a place can be told."""
