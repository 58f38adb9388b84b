"""Submit, cancel and wait over HTTP through crashes of the server: what a stubborn client does."""

import http.client
import json
import threading
import time
import urllib.parse
import uuid

ENDED = {"COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED"}
_PAUSE = threading.Event()


class Client:
    """One connection after the other to a server that may be gone for a while. Each call is bounded by `patience_seconds`."""

    def __init__(self, url, patience_seconds=90):
        self._host = urllib.parse.urlsplit(url).netloc
        self._patience = patience_seconds
        self._connection = None

    def submit(self, *command, key=None, **more):
        """Submit a task of one executor, or with `executors=`; return the id that was acknowledged."""
        task = {"executors": [{"image": "none", "command": list(command)}], "resources": {"ram_gb": 0.05}} | more
        headers = {"Content-Type": "application/json", "Idempotency-Key": key or uuid.uuid4().hex}
        return self.ask("POST", "/ga4gh/tes/v1/tasks", json.dumps(task), headers)["id"]

    def cancel(self, task_id):
        self.ask("POST", f"/ga4gh/tes/v1/tasks/{task_id}:cancel")

    def get(self, task_id, view="MINIMAL"):
        return self.ask("GET", f"/ga4gh/tes/v1/tasks/{task_id}?view={view}")

    def until(self, task_id, *states):
        """Wait until a task is in one of the states (default: any that ends it); return the state."""
        wanted, end, state = set(states) or ENDED, time.monotonic() + self._patience, None
        while time.monotonic() < end:
            headers = {} if state is None else {"If-None-Match": f'"{state}"'}
            answer = self.ask("GET", f"/v1/tasks/{task_id}?wait=5", None, headers)
            state = state if answer is None else answer["state"]
            if state in wanted:
                return state
            assert state not in ENDED, f"{task_id} ended {state}: {self.get(task_id, 'FULL')}"
        raise AssertionError(f"{task_id} is still {state}: {self.get(task_id, 'FULL')}")

    def ask(self, method, path, body=None, headers=None):
        """Ask until there is an answer: None for 304, else its JSON. A refusal fails the test."""
        end = time.monotonic() + self._patience
        while True:
            try:
                status, said = self._once(method, path, body, headers or {})
            except (OSError, http.client.HTTPException) as error:
                self.close()
                status, said = 0, repr(error)
            if status == 304:
                return None
            if status == 200:
                return json.loads(said)
            assert status in {0, 429, 503}, f"{method} {path}: {status} {said!r}"
            assert time.monotonic() < end, (
                f"{method} {path}: no answer for {self._patience} s, at last {status} {said!r}"
            )
            _PAUSE.wait(0.02)

    def close(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _once(self, method, path, body, headers):
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._host, timeout=30)
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()
