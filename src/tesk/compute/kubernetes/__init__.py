"""Tasks as pods of a Kubernetes cluster, one pod per attempt. Entry point: `tesk.compute.kubernetes.backend`."""
