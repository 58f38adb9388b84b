"""The containers `inputs` and `outputs` of a pod. What they do, in order: docs/pod.md."""
