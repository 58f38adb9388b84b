"""What the minimal FOCA server answers: always the same task, from memory."""

import json
import os
import uuid
from pathlib import Path
from typing import Any

TASK = json.loads(Path(os.environ["BENCH_TASK"]).read_text())


def get_service_info() -> dict[str, Any]:
    return {"id": "peer", "name": "peer", "type": {"group": "org.ga4gh", "artifact": "tes", "version": "1.1.0"}}


def create_task(body: dict[str, Any]) -> dict[str, str]:
    assert body["executors"]
    return {"id": uuid.uuid4().hex}


def get_task(id: str, view: str = "MINIMAL") -> dict[str, Any]:  # noqa: A002, ARG001 - the parameters are named by the spec
    return TASK


def list_tasks(page_size: int = 256, view: str = "MINIMAL", page_token: str | None = None) -> dict[str, Any]:  # noqa: ARG001
    return {"tasks": [TASK] * page_size}
