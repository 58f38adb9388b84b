"""A Kubernetes API server on loopback for the faults that a real one cannot be made to show. Speaks real HTTP.

It keeps objects of any kind by their paths, their versions and what changed; lists in pages, watches, forgets what is too
old. What a test has lined up with `next` happens first.
"""

import asyncio
import base64
import contextlib
import json
import ssl
from collections import deque
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import NamedTuple

from aiohttp import web


class Answer(NamedTuple):
    """An answer that a server gives in place of the right one."""

    code: int
    message: str = ""
    reason: str = ""
    headers: dict | None = None
    body: bytes | None = None


CUT = "the connection breaks before anything was done"
DONE_AND_CUT = "it is done, then the connection breaks"
SILENT = "the connection stays, and nothing comes"


def status(code, message="", reason="", **details):
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
        "details": details,
    }


class KubernetesApi:
    """`requests`: method, path, query and headers of each, in order. `token`: the only bearer that is let in, if any."""

    def __init__(self, *, tls: ssl.SSLContext | None = None):
        self.uid = f"cluster-{id(self)}"
        self.objects: dict[tuple[str, str, str], dict] = {}
        self.version = 100
        self.oldest = 0
        self.changes: list[tuple[int, str, tuple[str, str, str], dict]] = []
        self.requests: list[tuple[str, str, dict, dict]] = []
        self.peers: set = set()
        self.faults: deque = deque()
        self.token: str | None = None
        self.logs: dict[tuple[str, str, str], list[bytes]] = {}
        self.gone_in_the_answer = False
        self.watchers: dict[asyncio.Queue, str] = {}
        self.moved = asyncio.Condition()
        self.ahead = timedelta()
        """How far its clock is ahead of that of everybody else."""
        self._tls = tls
        self._pages: dict[str, tuple[int, list[dict]]] = {}
        self._ending = asyncio.Event()

    @contextlib.asynccontextmanager
    async def serving(self, port=0):
        """Serve within. `url` is where; `client` has the certificate that the last client showed."""
        app = web.Application(client_max_size=8 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=self._tls)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        self.url = f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"
        self._ending.clear()
        try:
            yield self
        finally:
            self._ending.set()
            await self.end_watches()
            await runner.cleanup()

    # What a test does in place of the cluster

    def put(self, resource, namespace, name, **fields):
        """Make or change an object, as a controller or a kubelet would."""
        key = (resource, namespace, name)
        old = self.objects.get(key)
        self.version += 1
        meta = {"name": name, "namespace": namespace, "uid": f"uid-{self.version}"}
        if old is not None:
            meta["uid"] = old["metadata"]["uid"]
        meta |= fields.pop("metadata", {}) | {"resourceVersion": str(self.version)}
        self.objects[key] = (old or {}) | fields | {"metadata": meta}
        self._tell("MODIFIED" if old else "ADDED", key, self.objects[key])
        return self.objects[key]

    def remove(self, resource, namespace, name):
        self.version += 1
        gone = self.objects.pop((resource, namespace, name))
        gone = gone | {"metadata": gone["metadata"] | {"resourceVersion": str(self.version)}}
        self._tell("DELETED", (resource, namespace, name), gone)

    def forget(self):
        """Compact: watches from before now, and pages of lists that have begun, are too late."""
        self.version += 1
        self.oldest = self.version
        self.changes.clear()
        self._pages.clear()

    def next(self, *faults, where=""):
        """Line up what happens to the next requests whose method and path contain `where`."""
        self.faults.extend((where, fault) for fault in faults)

    async def watched(self, count=1):
        """Wait until so many watch."""
        await self.until(lambda: len(self.watchers) >= count)

    async def until(self, holds):
        async with asyncio.timeout(20), self.moved:
            await self.moved.wait_for(holds)

    def bookmark(self):
        self.version += 1
        for queue in self.watchers:
            # As a real one says it: null for what each pod has.
            bare = {"metadata": {"resourceVersion": str(self.version), "creationTimestamp": None}}
            queue.put_nowait({"type": "BOOKMARK", "object": bare | {"spec": {"containers": None}, "status": {}}})

    async def end_watches(self, how=None):
        """End all watches: as a server does by itself (None), with CUT, or with an object that is an ERROR."""
        for queue in list(self.watchers):
            queue.put_nowait(how if isinstance(how, str | None) else {"type": "ERROR", "object": how})
        await self.until(lambda: not self.watchers)

    def _now(self):
        return datetime.now(UTC) + self.ahead

    def asked(self, method="", part=""):
        return [each for each in self.requests if each[0].startswith(method) and part in each[1]]

    # What the server does

    def _tell(self, kind, key, value):
        self.changes.append((self.version, kind, key, value))
        for queue, path in self.watchers.items():
            if _within(path, key):
                queue.put_nowait({"type": kind, "object": value})

    async def _moved(self):
        async with self.moved:
            self.moved.notify_all()

    async def _answer(self, request):
        self.requests.append((request.method, request.path, dict(request.query), request.headers))
        self.peers.add(request.transport.get_extra_info("peername"))
        self.client = request.transport.get_extra_info("peercert")
        await self._moved()
        fault = next(
            (each for each in self.faults if each[0] in f"{request.method} {request.path}?{request.query_string}"), None
        )
        if fault is not None:
            self.faults.remove(fault)
            fault = fault[1]
        if fault == SILENT:
            await self._ending.wait()
        if fault == CUT:
            request.transport.abort()
            return web.Response()
        if isinstance(fault, Answer):
            body = fault.body
            if body is None:
                body = json.dumps(status(fault.code, fault.message, fault.reason)).encode()
            return web.Response(status=fault.code, body=body, headers=fault.headers)
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return _json(status(401, "Unauthorized", "Unauthorized"), 401)
        answer = await self._right(request)
        if not answer.prepared:
            answer.headers["Date"] = format_datetime(self._now(), usegmt=True)
        if fault == DONE_AND_CUT:
            request.transport.abort()
        return answer

    async def _right(self, request):
        resource, namespace, name, part = _parts(request.path)
        if part == "log":
            return await self._log(request, (namespace, name, request.query.get("container", "")))
        match request.method, name:
            case "GET", "" if request.query.get("watch"):
                return await self._watch(request)
            case "GET", "":
                return self._list(request)
            case "POST", _:
                body = await request.json()
                name = body["metadata"].get("name", "")
                if request.query.get("dryRun"):
                    return _json(body, 201)
                if (resource, namespace, name) in self.objects:
                    return _json(status(409, f'{resource} "{name}" already exists', "AlreadyExists"), 409)
                return _json(self.put(resource, namespace, name, **body), 201)
        found = self.objects.get((resource, namespace, name))
        if resource == "namespaces" and found is None:
            found = {"metadata": {"name": name, "uid": self.uid}}
        if found is None:
            return _json(status(404, f'{resource} "{name}" not found', "NotFound"), 404)
        if request.method == "DELETE":
            wanted = (await request.json()).get("preconditions", {}).get("uid")
            if wanted not in {None, found["metadata"]["uid"]}:
                return _json(status(409, "the UID in the precondition does not match", "Conflict"), 409)
            if found["metadata"].get("finalizers"):
                self.put(
                    resource,
                    namespace,
                    name,
                    metadata=found["metadata"] | {"deletionTimestamp": self._now().isoformat()},
                )
            else:
                self.remove(resource, namespace, name)
        elif request.method == "PATCH":
            patch = await request.json()
            changed = _stepped(found, patch) if isinstance(patch, list) else _merged(found, patch)
            if changed is None:
                return _json(
                    status(422, "the server rejected our request due to an error in our request", "Invalid"), 422
                )
            found = self.put(resource, namespace, name, **changed)
            if changed["metadata"].get("deletionTimestamp") and not changed["metadata"].get("finalizers"):
                self.remove(resource, namespace, name)
        return _json(found)

    def _list(self, request):
        go_on = request.query.get("continue")
        if go_on:
            if go_on not in self._pages:
                return _json(status(410, "The provided continue parameter is too old", "Expired"), 410)
            version, rest = self._pages.pop(go_on)
        else:
            version = self.version
            rest = [value for key, value in sorted(self.objects.items()) if _within(request.path, key)]
        limit = int(request.query.get("limit", 0)) or len(rest)
        meta = {"resourceVersion": str(version)}
        if rest[limit:]:
            token = base64.urlsafe_b64encode(f"{version}:{len(rest)}".encode()).decode()
            self._pages[token] = (version, rest[limit:])
            meta["continue"] = token
        return _json({"kind": "List", "metadata": meta, "items": rest[:limit] or None})

    async def _watch(self, request):
        since = int(request.query["resourceVersion"])
        if since < self.oldest and self.gone_in_the_answer:
            return _json(status(410, f"too old resource version: {since}", "Expired"), 410)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if since < self.oldest:
            said = {"type": "ERROR", "object": status(410, f"too old resource version: {since}", "Expired")}
            await response.write(json.dumps(said).encode() + b"\n")
            return response
        queue = asyncio.Queue()
        for version, kind, key, value in self.changes:
            if version > since and _within(request.path, key):
                queue.put_nowait({"type": kind, "object": value})
        self.watchers[queue] = request.path
        await self._moved()
        try:
            while (event := await queue.get()) is not None:
                if event == CUT:
                    request.transport.abort()
                    break
                line = json.dumps(event).encode() + b"\n"
                for piece in (line[:7], line[7:]):  # in pieces, as a network does
                    await response.write(piece)
                if event["type"] == "ERROR":
                    break
        finally:
            self.watchers.pop(queue, None)
            await self._moved()
        return response

    async def _log(self, request, key):
        if key not in self.logs:
            return _json(status(400, f'container "{key[2]}" is waiting to start: ContainerCreating', "BadRequest"), 400)
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        for piece in self.logs[key]:
            await response.write(piece)
        return response


def _parts(path):
    words = path.strip("/").split("/")
    words = words[3:] if words[0] == "apis" else words[2:]
    namespace = ""
    if words[0] == "namespaces" and len(words) > 2:
        namespace, words = words[1], words[2:]
    return words[0], namespace, *[*words[1:], "", ""][:2]


def _within(path, key):
    resource, namespace, _, _ = _parts(path)
    return key[0] == resource and namespace in {"", key[1]}


def _merged(old, patch):
    """RFC 7386."""
    if not isinstance(patch, dict) or not isinstance(old, dict):
        return patch
    merged = dict(old)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(old.get(name), value)
    return merged


def _stepped(old, steps):
    """RFC 6902, as far as it is used; None where a test fails."""
    changed = json.loads(json.dumps(old))
    for step in steps:
        *above, last = [word.replace("~1", "/") for word in step["path"].strip("/").split("/")]
        place = changed
        for word in above:
            place = place[int(word)] if isinstance(place, list) else place[word]
        key = int(last) if isinstance(place, list) else last
        there = place.get(key) if isinstance(place, dict) else next(iter(place[key : key + 1]), None)
        if step["op"] == "test" and there != step["value"]:
            return None
        if step["op"] == "remove":
            del place[key]
        if step["op"] == "add":
            place[key] = step["value"]
    return changed


def _json(value, code=200):
    return web.Response(status=code, body=json.dumps(value).encode(), content_type="application/json")
