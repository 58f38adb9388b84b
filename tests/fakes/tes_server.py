"""A small TES server of somebody else's, over real HTTP: speaks TES 1.1 and no more, and does what a test's script says first."""

import contextlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class FakeTes(ThreadingHTTPServer):
    """Each look at a task moves it one state further along `states`. `script` is taken from before anything else is done:
    "reset" breaks the connection once the request has been read, "store and reset" after it was also obeyed, a tuple
    (status, headers, body) is the answer. `tesk`: it has `/tesk/v1/service-info`, tags states and knows `?wait`.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self,
        *,
        base="/ga4gh/tes/v1",
        states=("QUEUED", "RUNNING", "COMPLETE"),
        script=(),
        tesk=False,
        logs=None,
        abilities=None,
    ):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.base, self.states, self.script, self.tesk, self.logs = base, list(states), list(script), tesk, logs
        self.tasks: dict[str, dict] = {}
        self.looks: dict[str, int] = {}
        self.keys: dict[str, str] = {}
        self.abilities = {"callbacks": True} | (abilities or {})
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.connections = 0
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    @contextlib.contextmanager
    def serving(self):
        thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            thread.join()
            self.server_close()

    def process_request(self, request, client_address):
        self.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request, client_address):
        """A client that went away is no news."""

    def add(self, task, key=None):
        with self.lock:
            if self.tesk and key in self.keys:
                return self.keys[key]
            task_id = f"task-{len(self.tasks) + 1}"
            self.tasks[task_id] = task | {"id": task_id, "creation_time": "2024-05-06T07:08:09Z"}
            self.looks[task_id] = 0
            self.keys[key] = task_id
            return task_id

    def state(self, task_id, *, look=True):
        with self.lock:
            states = self.tasks[task_id].get("_states", self.states)
            state = states[min(self.looks[task_id], len(states) - 1)]
            self.looks[task_id] += look
            return state


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeTes

    def log_message(self, *_):
        """Say nothing."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        step = self._scripted()
        if step in ("done", "reset"):
            return self._break() if step == "reset" else None
        path = urlsplit(self.path).path.removeprefix(self.server.base)
        if not self.path.startswith(self.server.base):
            self._answer(404, {"detail": "no such path"})
        elif path == "/tasks":
            task = json.loads(body)
            if not task.get("executors"):
                problems = [
                    {"path": "executors", "detail": "at least one"},
                    {"path": "inputs[0].path", "detail": "must be absolute"},
                ]
                return self._answer(400, {"status": 400, "detail": "the task is not right", "problems": problems})
            task_id = self.server.add(task, self.headers.get("Idempotency-Key"))
            if step == "store and reset":
                return self._break()
            self._answer(200, {"id": task_id})
        elif (task_id := path.removeprefix("/tasks/").removesuffix(":cancel")) in self.server.tasks:
            self.server.tasks[task_id]["_states"] = ["CANCELED"]
            self._answer(200, {})
        else:
            self._answer(404, {"detail": "no such task"})
        return None

    def do_GET(self):
        step = self._scripted()
        if step in ("done", "reset"):
            return self._break() if step == "reset" else None
        parts = urlsplit(self.path)
        query = parse_qs(parts.query, keep_blank_values=True)
        if self.server.tesk and parts.path == "/tesk/v1/service-info":
            return self._answer(200, self.server.abilities)
        path = parts.path.removeprefix(self.server.base)
        if not parts.path.startswith(self.server.base):
            return self._answer(404, {"detail": "no such path"})
        if path == "/service-info":
            return self._answer(200, {"id": "fake", "name": "Fake", "type": {"artifact": "tes", "version": "1.1.0"}})
        if path == "/tasks":
            return self._list(query)
        task_id = path.removeprefix("/tasks/")
        if task_id not in self.server.tasks:
            return self._answer(404, {"detail": f"no task {task_id}"})
        state = self.server.state(task_id)
        headers = {"ETag": f'"{state}"'} if self.server.tesk else {"ETag": 'W/"5d41402a"'}
        if "wait" in query and not self.server.tesk:
            return self._answer(400, {"detail": "unknown parameter wait"})
        if self.headers.get("If-None-Match") == headers["ETag"]:
            return self._answer(304, None, headers)
        return self._answer(200, self._task(task_id, state, query.get("view", ["MINIMAL"])[0]), headers)

    def _list(self, query):
        newest = list(reversed(self.server.tasks))
        for key, value in zip(query.get("tag_key", []), query.get("tag_value", []), strict=False):
            newest = [
                each
                for each in newest
                if (self.server.tasks[each].get("tags") or {}).get(key) in ({value} if value else set("abc") | {"1"})
            ]
        start = int(query.get("page_token", ["0"])[0])
        size = int(query.get("page_size", ["256"])[0])
        view = query.get("view", ["MINIMAL"])[0]
        page = [self._task(each, self.server.state(each, look=False), view) for each in newest[start : start + size]]
        more = {"next_page_token": str(start + size)} if start + size < len(newest) else {}
        self._answer(200, {"tasks": page} | more)

    def _task(self, task_id, state, view):
        task = {name: value for name, value in self.server.tasks[task_id].items() if not name.startswith("_")}
        if view == "MINIMAL":
            return {"id": task_id, "state": state}
        return task | {"state": state, "logs": self.server.logs or [{"logs": [], "outputs": [], "system_logs": None}]}

    def _scripted(self):
        self.server.requests.append(
            (self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        )
        step = self.server.script.pop(0) if self.server.script else ""
        if isinstance(step, tuple):
            self._answer(step[0], step[2], step[1])
            return "done"
        return step

    def _break(self):
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, status, document, headers=None):
        body = b"" if document is None else document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 304:
            if "Content-Type" not in (headers or {}):
                self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
