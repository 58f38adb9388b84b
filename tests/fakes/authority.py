"""Certificates of a server that is its own authority, and of a client."""

import subprocess


def authority(folder):
    """Make a server's certificate that is its own authority, and one for a client."""
    made = []
    for name in ("server", "client"):
        key, certificate = folder / f"{name}.key", folder / f"{name}.crt"
        if not key.exists():
            command = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name} -addext subjectAltName=DNS:cluster.test -keyout {key} -out {certificate}"
            subprocess.run(command.split(), check=True, capture_output=True)
        made += [certificate, key]
    return made
