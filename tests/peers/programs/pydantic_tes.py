"""Runs in pydantic-tes's own environment (Galaxy's and Pulsar's client). Prints what it saw as JSON."""

import json
import sys

import requests
from pydantictes.api import TesClient
from pydantictes.models import TesListTasksResponse, TesTask

url, folder = sys.argv[1:]
client = TesClient(url + "/ga4gh/tes/")
info = client.service_info()
task = TesTask(
    name="by pydantic-tes",
    inputs=[{"content": "first\nsecond\n", "path": "/data/lines.txt", "type": "FILE"}],
    outputs=[{"url": f"file://{folder}/count.txt", "path": "/data/count.txt", "type": "FILE"}],
    resources={"cpu_cores": 1, "ram_gb": 0.1},
    executors=[
        {
            "image": "none",
            "command": ["sh", "-c", "wc -l < /data/lines.txt; echo said >&2"],
            "stdout": "/data/count.txt",
        },
        {"image": "none", "command": ["cat", "/data/count.txt"]},
    ],
)


def wait(task_id, end):
    # By hand: its model of a task wants executors, so it cannot read MINIMAL, and it does not know CANCELING (TES 1.1).
    state = "QUEUED"
    while state not in end:
        answer = requests.get(f"{url}/v1/tasks/{task_id}", params={"wait": 1}, timeout=10)
        answer.raise_for_status()
        state = answer.json()["state"]
    return state


made = client.create_task(task)
state = wait(made.id, {"COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR"})
full = client.get_task(made, "FULL")
sleeper = client.create_task(TesTask(executors=[{"image": "none", "command": ["sleep", "600"]}]))
client.cancel_task(sleeper)
wait(sleeper.id, {"CANCELED"})

listed, token = {}, None
while True:
    answer = requests.get(url + "/v1/tasks", params={"view": "FULL", "page_size": 3, "page_token": token}, timeout=10)
    answer.raise_for_status()
    page = TesListTasksResponse(**answer.json())
    listed |= {each.id: each.state.value for each in page.tasks}
    token = page.next_page_token
    if not token:
        break

print(
    json.dumps(
        {
            "info": json.loads(info.model_dump_json()),
            "state": state,
            "exit_codes": [log.exit_code for log in full.logs[0].logs],
            "stdout": full.logs[0].logs[1].stdout,
            "stderr": full.logs[0].logs[0].stderr,
            "outputs": [output.url for output in full.logs[0].outputs],
            "listed": listed,
            "minimal": [each.id for each in client.list_tasks().tasks],
        }
    )
)
