"""A mutating webhook of the test: HTTPS with an authority of its own, which puts containers beside those of tasks."""

import base64
import contextlib
import http.server
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SIDECAR = "mesh"


class Webhook:
    """`broken`: it answers with 500 for as long as it is set. `asked` is how many pods it was shown."""

    def __init__(self, url: str, authority: bytes) -> None:
        self.url = url
        self.authority = base64.b64encode(authority).decode()
        self.broken = threading.Event()
        self.asked = 0

    def answer(self, review: dict[str, Any], image: str) -> dict[str, Any]:
        """Put a container that never ends before the others, and one before all that starts with them and stays."""
        self.asked += 1
        pod = review["request"]["object"]
        sidecar = {"name": SIDECAR, "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "100000"]}
        steps: list[dict[str, Any]] = [{"op": "add", "path": "/spec/containers/0", "value": sidecar}]
        before = {**sidecar, "name": f"{SIDECAR}-init", "restartPolicy": "Always"}
        if pod["spec"].get("initContainers"):
            steps.append({"op": "add", "path": "/spec/initContainers/0", "value": before})
        else:
            steps.append({"op": "add", "path": "/spec/initContainers", "value": [before]})
        patch = base64.b64encode(json.dumps(steps).encode()).decode()
        response = {"uid": review["request"]["uid"], "allowed": True, "patchType": "JSONPatch", "patch": patch}
        return {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response}


@contextlib.contextmanager
def serving(folder: Path, api_server: str, image: str) -> Iterator[Webhook]:
    """Serve at the address from which this machine reaches the API server; there it is reached, too."""
    parts = urlsplit(api_server)
    with socket.create_connection((parts.hostname, parts.port or 443)) as probe:
        address = probe.getsockname()[0]
    authority, certificate = _certificate(folder, address)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = json.dumps(webhook.answer(review, image)).encode()
            self.send_response(500 if webhook.broken.is_set() else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((address, 0), Handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        webhook = Webhook(f"https://{address}:{server.server_address[1]}/", authority)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield webhook
        finally:
            server.shutdown()
            thread.join()


def _certificate(folder: Path, address: str) -> tuple[bytes, Path]:
    """Return an authority, and the file of a key and a certificate for the address, signed by it."""
    now = datetime.now(UTC)

    def made(name: str, key: ec.EllipticCurvePrivateKey, issuer: str) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
        )

    root, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = made("test authority", root, "test authority").add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    leaf = made("test webhook", own, "test authority").add_extension(here, critical=False)
    place = folder / "webhook.pem"
    pem = serialization.Encoding.PEM
    place.write_bytes(
        own.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + leaf.sign(root, hashes.SHA256()).public_bytes(pem)
    )
    return authority.sign(root, hashes.SHA256()).public_bytes(pem), place
