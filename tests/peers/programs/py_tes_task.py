"""Runs in py-tes's own environment: runs the task of a file on a server that wants a token, and prints all of it as JSON."""

import json
import sys

import tes

url, token, path = sys.argv[1:]
client = tes.HTTPClient(url, timeout=10, token=token)
with open(path) as file:
    task = tes.unmarshal(json.load(file), tes.Task)
task_id = client.create_task(task)
client.wait(task_id, timeout=120)
print(client.get_task(task_id, view="FULL").as_json())
