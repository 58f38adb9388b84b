"""Runs in py-tes's own environment: a whole task and all lists by its client. Prints what it saw as JSON."""

import json
import sys
import urllib.request

import tes

url, folder = sys.argv[1:]
client = tes.HTTPClient(url, timeout=10)
info = client.get_service_info()
task = tes.Task(
    name="by py-tes",
    inputs=[tes.Input(content="first\nsecond\n", path="/data/lines.txt", type="FILE")],
    outputs=[tes.Output(url="file://" + folder + "/count.txt", path="/data/count.txt", type="FILE")],
    resources=tes.Resources(cpu_cores=1, ram_gb=0.1),
    executors=[
        tes.Executor(
            image="none", command=["sh", "-c", "wc -l < /data/lines.txt; echo said >&2"], stdout="/data/count.txt"
        ),
        tes.Executor(image="none", command=["cat", "/data/count.txt"]),
    ],
    tags={"peer": "py-tes"},
)
task_id = client.create_task(task)
waited = client.wait(task_id, timeout=60)
full = client.get_task(task_id, view="FULL")
sleeper = client.create_task(tes.Task(executors=[tes.Executor(image="none", command=["sleep", "600"])]))
client.cancel_task(sleeper)
# CANCELING is a word of TES 1.1: 0.4.2 cannot read it, and `wait` of 1.1.4 takes it for an end. It passes by.
state = "RUNNING"
while state != "CANCELED":
    with urllib.request.urlopen(f"{url}/v1/tasks/{sleeper}?wait=1", timeout=10) as answer:
        state = json.load(answer)["state"]

listed, token = [], None
while True:
    page = client.list_tasks(view="FULL", page_size=3, page_token=token)
    listed += page.tasks
    token = page.next_page_token
    if not token:
        break

print(
    json.dumps(
        {
            "info": info.as_dict(),
            "state": waited.state,
            "exit_codes": [log.exit_code for log in full.logs[0].logs],
            "stdout": full.logs[0].logs[1].stdout,
            "stderr": full.logs[0].logs[0].stderr,
            "outputs": [output.url for output in full.logs[0].outputs],
            "listed": {each.id: each.state for each in listed},
            "minimal": [each.id for each in client.list_tasks(view="MINIMAL").tasks],
        },
        default=str,
    )
)
