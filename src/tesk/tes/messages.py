"""The answers of TES that are no task: lists, service info, errors. Pure."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from tesk import errors

API_VERSION = "1.1.0"


class ServiceType(Struct, frozen=True, kw_only=True):
    """`tesServiceType`: which API this is, and its version."""

    group: str = "org.ga4gh"
    artifact: str = "tes"
    version: str = API_VERSION


class Organization(Struct, frozen=True, kw_only=True):
    """Who runs the service."""

    name: str
    url: str


class ServiceInfo(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`tesServiceInfo`. `version` is the server's own."""

    id: str
    name: str
    type: ServiceType
    description: str | None = None
    organization: Organization
    contact_url: str | None = msgspec.field(default=None, name="contactUrl")
    documentation_url: str | None = msgspec.field(default=None, name="documentationUrl")
    environment: str | None = None
    version: str
    storage: tuple[str, ...]
    backend_parameters: tuple[str, ...] = msgspec.field(name="tesResources_backend_parameters")


class OldServiceInfo(Struct, frozen=True, kw_only=True):
    """Service info as TES had it before 1.0, at `/v1/tasks/service-info`."""

    name: str
    doc: str
    storage: tuple[str, ...]


class Problem(Struct, frozen=True):
    """One thing wrong in a request: where (a JSON path such as `executors[0].image`) and what would be right."""

    path: str
    detail: str


class Error(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of every error. `msg` and `status_code` are what other services of GA4GH call `detail` and `status`."""

    status: int
    title: str
    detail: str
    problems: tuple[Problem, ...] = ()
    msg: str
    status_code: int


_encode = msgspec.json.Encoder().encode


def list_tasks(tasks: Sequence[bytes], next_page_token: str | None) -> bytes:
    """Return `tesListTasksResponse` of tasks as JSON. The token is left out on the last page."""
    end = b"]}" if next_page_token is None else b'],"next_page_token":%b}' % _encode(next_page_token)
    if not tasks:
        return b'{"tasks":[' + end
    # A page may have megabytes: it is copied once.
    parts = [*tasks]
    parts[0] = b'{"tasks":[' + parts[0]
    parts[-1] += end
    return b",".join(parts)


def create_task(task_id: str) -> bytes:
    """Return `tesCreateTaskResponse`."""
    return b'{"id":"%b"}' % task_id.encode()


def error(status: int, title: str, detail: str, problems: Sequence[errors.Problem] = ()) -> bytes:
    """Return the body of an error."""
    said = tuple(Problem(each.path, each.detail) for each in problems)
    return _encode(Error(status=status, title=title, detail=detail, problems=said, msg=detail, status_code=status))


def encode(message: Struct) -> bytes:
    """Return a message as JSON."""
    return _encode(message)
