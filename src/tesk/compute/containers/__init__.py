"""Tasks in containers of their own images, by podman or docker. Entry point: `tesk.compute.containers.backend`."""
