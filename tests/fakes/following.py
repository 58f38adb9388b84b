"""A stream of server-sent events as a client without any library reads it: lines, over a plain socket."""

import contextlib
import http.client
import json
import urllib.parse


class Stream:
    """What comes of one connection. `last_id` is what a client would send to go on."""

    def __init__(self, connection, answer):
        self.status = answer.status
        self.headers = dict(answer.getheaders())
        self.last_id = ""
        self._connection = connection
        self._answer = answer

    def next(self):
        """Return the kind and the data of the next event; (None, None) at the end."""
        kind, data = "message", []
        for line in iter(self._answer.readline, b""):
            text = line.decode().rstrip("\n")
            name, _, value = text.partition(": ")
            if name == "id":
                self.last_id = value
            elif name == "event":
                kind = value
            elif name == "data":
                data.append(value)
            elif not text and data:
                return kind, json.loads("\n".join(data))
            elif not text:
                kind = "message"
        return None, None

    def beat(self):
        """Wait for an id that comes alone; return it."""
        alone = False
        for line in iter(self._answer.readline, b""):
            if not line.strip() and alone:
                return self.last_id
            alone = line.startswith(b"id: ")
            if alone:
                self.last_id = line[4:].decode().strip()
        return None

    def states(self, count):
        """Return so many events, as (id, state)."""
        news = []
        while len(news) < count:
            kind, data = self.next()
            assert kind == "state", (kind, data, news)
            news.append((data["id"], data["state"]))
        return news


@contextlib.contextmanager
def following(url, path="/tesk/v1/events", *, wanted=None, last_id=None, accept=None, seconds=30, **headers):
    """Open a stream; `wanted` goes as the body of a POST."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=seconds)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if last_id is not None:
        named["Last-Event-ID"] = last_id
    if accept is not None:
        named["Accept"] = accept
    with contextlib.closing(connection):
        if wanted is None:
            connection.request("GET", path, headers=named)
        else:
            connection.request("POST", path, json.dumps(wanted), {**named, "Content-Type": "application/json"})
        yield Stream(connection, connection.getresponse())
