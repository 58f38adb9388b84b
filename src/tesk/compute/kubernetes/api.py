"""A thin client of a Kubernetes API server: a few verbs, typed answers, lists in pages, watches, logs. Acts.

What the server refuses is raised at once, as one of `refusals`; what is busy or breaks has been tried again when Unanswered
says so. Whose create got no answer asks whether it is there, or creates again: AlreadyExists says it, too.
"""

import random
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import msgspec

from tesk.compute.kubernetes.credentials import Access
from tesk.compute.kubernetes.objects import Line, Marked, Page, Rule, Status, WatchEvent
from tesk.compute.kubernetes.refusals import Gone, Unanswered, no
from tesk.compute.kubernetes.wire import Call, Wire

T = TypeVar("T")
Body = bytes | Mapping[str, object] | Sequence[Mapping[str, object]]
Listed = tuple[list[T], str]
"""All objects, and the version that they are of."""
PatchKind = Literal["merge", "strategic", "json", "apply"]

_MANAGER = "tesk"
_PATCHES: dict[PatchKind, str] = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}
_REQUEST_SECONDS = 30.0
_IDLE_SECONDS = 150.0
"""How long a watch may be silent: bookmarks come each minute."""
_LINE_BYTES = 32 * 1024 * 1024
_PAGES_AGAIN = 2
_LINE = msgspec.json.Decoder(Line)


class Api:
    """An API server, as `access` reaches it. An async context: the session is open within.

    `calls` counts the requests that were sent, by what had to be allowed for them. Every verb raises Refused or
    Unanswered (a BackendUnavailable).
    """

    def __init__(
        self, access: Access, *, request_seconds: float = _REQUEST_SECONDS, idle_seconds: float = _IDLE_SECONDS
    ) -> None:
        self.namespace = access.namespace
        self._wire = Wire(access, request_seconds)
        self._request_seconds = request_seconds
        self._idle_seconds = idle_seconds

    @property
    def calls(self) -> Counter[Rule]:
        """How often what was asked for, each try counted."""
        return self._wire.calls

    @property
    def ahead_seconds(self) -> float:
        """How far the server's clock is ahead of ours."""
        return self._wire.ahead_seconds

    async def __aenter__(self) -> Self:
        self._wire.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; twice is once."""
        await self._wire.close()

    async def get(self, path: str, shape: type[T]) -> T:
        """Return what is at `path`."""
        return await self._call("GET", "get", path, shape)

    async def create(self, path: str, body: Body, shape: type[T], *, dry_run: bool = False, strict: bool = False) -> T:
        """Make an object in the collection `path`; return it as the server has it.

        `dry_run`: nothing is made. `strict`: fields that the server does not know are Invalid. Raises AlreadyExists where
        one of its name is there. Unanswered may mean that it was made.
        """
        query = {"fieldManager": _MANAGER}
        if dry_run:
            query["dryRun"] = "All"
        if strict:
            query["fieldValidation"] = "Strict"
        return await self._call("POST", "create", path, shape, body=body, query=query, again=dry_run)

    async def delete(
        self, path: str, *, grace_seconds: float | None = None, uid: str | None = None, propagation: str | None = None
    ) -> None:
        """Ask for an end. Raises NotFound, or Conflict where the object of that name has another uid."""
        options: dict[str, object] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = int(grace_seconds)
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if propagation is not None:
            options["propagationPolicy"] = propagation
        await self._call("DELETE", "delete", path, msgspec.Raw, body=options)

    async def delete_all(self, path: str, *, selector: str, propagation: str | None = None) -> None:
        """Ask for an end of all in the collection `path` that `selector`, which is not empty, selects."""
        options: dict[str, object] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if propagation is not None:
            options["propagationPolicy"] = propagation
        query = {"labelSelector": selector}
        await self._call("DELETE", "deletecollection", path, msgspec.Raw, body=options, query=query)

    async def patch(self, path: str, body: Body, shape: type[T], *, kind: PatchKind = "merge") -> T:
        """Change an object; return it. `apply` is by the server's side, as the field manager `tesk`, which wins."""
        query = {"fieldManager": _MANAGER}
        if kind == "apply":
            query["force"] = "true"
        return await self._call(
            "PATCH", "patch", path, shape, body=body, query=query, content=_PATCHES[kind], again=kind != "json"
        )

    async def list(
        self, path: str, shape: type[T], *, selector: str = "", fields: str = "", limit: int = 500
    ) -> Listed[T]:
        """Return all that a collection holds, as of one version, and that version, to watch on from it.

        Asked for in pages of `limit`. Where a page comes too late to be of that version, it is begun again with larger
        pages, in the end with a single one.
        """
        query = {"labelSelector": selector, "fieldSelector": fields}
        for attempt in range(_PAGES_AGAIN + 1):
            size = limit * 4**attempt if attempt < _PAGES_AGAIN else 0
            try:
                return await self._pages(path, shape, {**query, "limit": str(size) if size else ""})
            except Gone:
                if not size:
                    raise
        raise AssertionError("the last of them returns or raises")

    async def _pages(self, path: str, shape: type[T], query: dict[str, str]) -> Listed[T]:
        items: list[T] = []
        go_on = ""
        while True:
            page = await self._call("GET", "list", path, Page[shape], query={**query, "continue": go_on})  # type: ignore[valid-type]  # a type made at run time
            items += page.items or ()
            go_on = page.metadata.go_on
            if not go_on:
                return items, page.metadata.resource_version

    async def watch(
        self,
        path: str,
        shape: type[T],
        *,
        selector: str = "",
        resource_version: str = "",
        lasts_seconds: float | None = None,
    ) -> AsyncGenerator[WatchEvent[T], None]:
        """Yield what changes after `resource_version`, until the server ends it (a return) or it breaks (Unanswered).

        Bookmarks are among it. Raises Gone where that version is too old: list again. One that is silent for longer than
        bookmarks may be is taken for broken. `lasts_seconds`: when the server is to end it, by half a minute to an hour
        if not told.
        """
        lasts = lasts_seconds if lasts_seconds is not None else random.uniform(1800, 3600)
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": selector,
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, int(lasts))),
        }
        decode = _decoder(shape).decode
        call = Call("GET", "watch", path, query=query, read_seconds=self._idle_seconds)
        async with self._wire.stream(call) as pieces:
            async for text in _lines(pieces):
                try:
                    line = _LINE.decode(text)
                    if line.type == "ERROR":
                        status = msgspec.json.decode(line.object, type=Status)
                        raise no(status.code, status, None)
                    said = line.object
                    if line.type == "BOOKMARK":  # beside its version there is null where each real one has a list
                        said = msgspec.Raw(msgspec.json.encode(msgspec.json.decode(said, type=Marked)))
                    event = WatchEvent(line.type, decode(said))
                except msgspec.MsgspecError as error:
                    raise Unanswered(
                        f"the API server of the cluster said in a watch what is no event: {error}"
                    ) from None
                yield event

    async def logs(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        follow: bool = False,
        tail_lines: int | None = None,
        limit_bytes: int | None = None,
        since: float | None = None,
        timestamps: bool = False,
    ) -> AsyncGenerator[bytes, None]:
        """Yield what a container printed; with `follow`, on to its end. Raises Invalid where it has not started.

        `since`: seconds since the epoch. `timestamps`: each line begins with its time, to go on from it later.
        """
        query = {
            "container": container,
            "follow": "true" if follow else "",
            "tailLines": "" if tail_lines is None else str(tail_lines),
            "limitBytes": "" if limit_bytes is None else str(limit_bytes),
            "sinceTime": "" if since is None else datetime.fromtimestamp(since, UTC).isoformat().replace("+00:00", "Z"),
            "timestamps": "true" if timestamps else "",
        }
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        # Who follows a program that says nothing gets nothing, not even the headers of the answer.
        call = Call(
            "GET", "get", path, query=query, read_seconds=None if follow else self._request_seconds, waits=follow
        )
        async with self._wire.stream(call) as pieces:
            async for piece in pieces:
                yield piece

    async def _call(
        self,
        method: str,
        verb: str,
        path: str,
        shape: type[T],
        *,
        body: Body | None = None,
        query: Mapping[str, str] | None = None,
        content: str = "application/json",
        again: bool = True,
    ) -> T:
        call = Call(
            method,
            verb,
            path,
            data=body if isinstance(body, bytes) or body is None else msgspec.json.encode(body),
            query=query or {},
            content=content,
            again=again,
            # Time for a second try over another connection, where the first is only half there.
            read_seconds=self._request_seconds / 2 if again else None,
        )
        answer = await self._wire.ask(call)
        try:
            return _decoder(shape).decode(answer)
        except msgspec.MsgspecError as error:
            raise Unanswered(f"the API server of the cluster answered what cannot be read: {error}") from None


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest = bytearray()
    async for piece in pieces:
        rest += piece
        if b"\n" in piece:
            *lines, last = bytes(rest).split(b"\n")
            rest = bytearray(last)
            for line in lines:
                if line:
                    yield line
        if len(rest) > _LINE_BYTES:
            raise Unanswered("the API server of the cluster sent a line without an end")


_DECODERS: dict[object, msgspec.json.Decoder[Any]] = {}


def _decoder(shape: type[T]) -> msgspec.json.Decoder[T]:
    found = _DECODERS.get(shape)
    if found is None:
        found = _DECODERS[shape] = msgspec.json.Decoder(shape)
    return found
