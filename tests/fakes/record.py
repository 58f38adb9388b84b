"""A listener for callbacks that writes down what it was told and what it took, and takes only some, by dice."""

import random
import threading
from collections import defaultdict

from fakes.listener import GOOD, Cut

BAD = (
    b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno",
    b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
    Cut(),
    Cut(reset=True),
    Cut(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal"),
    None,
)


class Record:
    """What a listener was told, and what it took: `bad` of all it does not take, by dice."""

    def __init__(self, seed, bad=0.0):
        self._dice = random.Random(seed)
        self._bad = bad
        self._lock = threading.Lock()
        self.taken = defaultdict(list)
        """Of each task the sequences that were taken, in order."""
        self.said = {}
        """Of each `webhook-id` what came with it."""
        self.changed = []
        """Ids whose content was another the second time."""
        self.many = 0
        self.grown = threading.Condition(self._lock)

    def __call__(self, one):
        body = one.json()
        with self._lock:
            webhook_id = one.headers["webhook-id"]
            self.many += 1
            if webhook_id != f"{body['id']}.{body['sequence']}" or self.said.setdefault(webhook_id, body) != body:
                self.changed.append(webhook_id)
            if self._dice.random() < self._bad:
                return self._dice.choice(BAD)
            self.taken[body["id"]].append(body["sequence"])
            self.grown.notify_all()
            return GOOD

    def last_state(self, task_id):
        return self.said[f"{task_id}.{max(self.taken[task_id])}"]["state"]

    def assert_whole(self, task_id, most):
        """Fail unless each move up to one came, in order, and again only what had come before."""
        assert list(dict.fromkeys(self.taken[task_id])) == [*range(1, most + 1)]

    def wait(self, done, seconds):
        with self.grown:
            assert self.grown.wait_for(done, seconds), f"{self.many} came"
