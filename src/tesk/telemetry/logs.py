"""Write the server's own log on standard error: one line each, for people or for machines."""

import json
import logging
from datetime import UTC, datetime
from typing import Literal


class _Lines(logging.Formatter):
    """`2026-01-31T12:00:00.000Z warning tesk.controller.term: ...`; a traceback stands in the lines below."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {record.levelname.lower()} {record.name}: {record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _Objects(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False)


def write_logs(level: Literal["debug", "info", "warning", "error"], format: Literal["text", "json"]) -> None:  # noqa: A002 - the setting's name
    """From here on, write lines of this level and worse."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Objects() if format == "json" else _Lines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Other people's libraries speak up when something is wrong, not of their daily work.
    for name in ("asyncio", "uvicorn", "uvicorn.error", "httpcore", "asyncpg"):
        logging.getLogger(name).setLevel("WARNING")


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
