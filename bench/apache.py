"""A web server that is no bottleneck, over HTTP and HTTPS: Apache from the distribution, on a folder."""

import contextlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import servers

_MODULES = Path("/usr/lib/apache2/modules")
_CERTIFICATE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=here"
    " -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
)


@dataclass(frozen=True, slots=True)
class Apache:
    """Where it answers, and the certificate to trust."""

    http: str
    https: str
    certificate: Path


@contextlib.contextmanager
def apache(folder: Path, served: Path) -> Iterator[Apache]:
    """Serve `served`, which everybody can read, from a process with its own files in `folder`."""
    program = shutil.which("apache2", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        raise RuntimeError("Apache is not installed: scripts/install-test-needs")
    plain, tls = servers.free_port(), servers.free_port()
    subprocess.run(_CERTIFICATE.split(), cwd=folder, check=True, capture_output=True)
    names = ("mpm_event", "authz_core", "ssl", "socache_shmcb")
    lines = [f"LoadModule {name}_module {_MODULES}/mod_{name}.so" for name in names]
    if os.getuid() == 0:
        user = pwd.getpwnam("www-data")
        lines += [f"User #{user.pw_uid}", f"Group #{user.pw_gid}"]
    lines += [
        f"ServerRoot {folder}",
        "ServerName localhost",
        f"PidFile {folder}/pid",
        f"ErrorLog {folder}/errors",
        f"Listen 127.0.0.1:{plain}",
        f"Listen 127.0.0.1:{tls}",
        "EnableSendfile On",
        "MaxKeepAliveRequests 0",
        f"DocumentRoot {served}",
        f"<Directory {served}>",
        "Require all granted",
        "</Directory>",
        f"<VirtualHost 127.0.0.1:{tls}>",
        "SSLEngine on",
        f"SSLCertificateFile {folder}/cert.pem",
        f"SSLCertificateKeyFile {folder}/key.pem",
        "</VirtualHost>",
    ]
    (folder / "httpd.conf").write_text("\n".join(lines) + "\n")
    (served / "index").touch()
    command = [program, "-f", str(folder / "httpd.conf"), "-DFOREGROUND"]
    with servers.running(command, plain, "/index", env={}, cwd=folder, log=folder / "apache.log"):
        yield Apache(f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{tls}", folder / "cert.pem")
