"""The tasks that are measured."""

import json
from typing import Any


def usual(*, command: tuple[str, ...] = ("true",), cpu_cores: int = 1) -> dict[str, Any]:
    """Return a task of the size that workflow engines send: about a kilobyte."""
    return {
        "name": "align-sample-0042",
        "description": "One step of a workflow, as an engine would send it.",
        "inputs": [
            {
                "name": "reads",
                "url": "http://data.example.org/runs/0042/reads_1.fastq.gz",
                "path": "/data/in/reads_1.fastq.gz",
            },
            {
                "name": "script",
                "content": "#!/bin/sh\nset -eu\nexec align --in /data/in --out /data/out\n",
                "path": "/data/in/run.sh",
            },
        ],
        "outputs": [
            {"name": "out", "url": "file:///srv/results/0042/out.bam", "path": "/data/out/out.bam", "type": "FILE"}
        ],
        "resources": {"cpu_cores": cpu_cores, "ram_gb": 0.1},
        "executors": [
            {
                "image": "quay.io/biocontainers/samtools:1.21--h50ea8bc_0",
                "command": list(command),
                "workdir": "/data/out",
                "stdout": "/data/out/log.txt",
                "env": {"SAMPLE": "0042", "THREADS": "1"},
            }
        ],
        "volumes": ["/data/tmp"],
        "tags": {"workflow": "align", "run": "2026-0042"},
    }


def bare(*command: str, ram_gb: float = 0.05, cpu_cores: int = 1, image: str = "none") -> dict[str, Any]:
    """Return the least task: one command, nothing in, nothing out."""
    return {
        "executors": [{"image": image, "command": list(command)}],
        "resources": {"cpu_cores": cpu_cores, "ram_gb": ram_gb},
    }


def encode(task: dict[str, Any]) -> bytes:
    return json.dumps(task).encode()
