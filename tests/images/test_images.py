"""What `make images` wrote: the archives of both images, and their programs as any user on a read-only root."""

import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tesk import __version__

ARCHIVES = Path(__file__).resolve().parent.parent.parent / "build/images"


@dataclass
class Image:
    """One image, unpacked."""

    config: dict
    tags: list[str]
    layers: int
    root: Path

    def run(self, *command: str, uid: int = 4711) -> "subprocess.CompletedProcess[str]":
        """Run a command of it as any user, where only /tmp and its data folder can be written."""
        settings = [word for each in self.config["Env"] for word in ("--setenv", *each.split("=", 1))]
        writable = ["--tmpfs", "/tmp", *(["--tmpfs", "/var/lib/tesk"] if (self.root / "var/lib/tesk").exists() else [])]
        sandbox = ["--unshare-all", "--uid", str(uid), "--gid", str(uid), "--cap-drop", "ALL", "--clearenv", *settings]
        places = ["--ro-bind", str(self.root), "/", "--proc", "/proc", "--dev", "/dev", *writable]
        return subprocess.run(
            ["bwrap", "--die-with-parent", *places, *sandbox, "--", *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


def unpacked(which: str, folder: Path) -> Image:
    """Unpack an archive, as a runtime would."""
    archive = ARCHIVES / f"{which}.tar"
    if not archive.exists():
        pytest.skip(f"there is no {archive.relative_to(ARCHIVES.parent.parent)}: make images")
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed: scripts/install-test-needs")
    with tarfile.open(archive) as parts:
        (manifest,) = json.loads(parts.extractfile("manifest.json").read())
        config = json.loads(parts.extractfile(manifest["Config"]).read())
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=parts.extractfile(layer)) as files:
                files.extractall(folder, filter="tar")
    return Image(config["config"], manifest["RepoTags"], len(manifest["Layers"]), folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """Give the image of the server."""
    folder = tmp_path_factory.mktemp("server")
    yield unpacked("server", folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def stager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """Give the image of the stager."""
    folder = tmp_path_factory.mktemp("stager")
    yield unpacked("stager", folder)
    shutil.rmtree(folder)


def test_an_archive_has_the_name_the_labels_and_the_user_that_a_cluster_expects(server, stager):
    for image, which in ((server, "server"), (stager, "stager")):
        assert [tag.removeprefix("docker.io/") for tag in image.tags] == [f"tesk/{which}:{__version__}"]
        labels = image.config["Labels"]
        assert labels["org.opencontainers.image.version"] == __version__
        assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
        assert image.layers == 1
    assert server.config["User"] == "10001:10001", "a number, so that a cluster can see that it is not root"
    assert (server.config["Entrypoint"], server.config["Cmd"]) == (["tesk"], ["serve"])
    assert not stager.config.get("User"), "the pod says as whom"


def test_an_archive_is_small():
    for which, most in (("server", 200_000_000), ("stager", 150_000_000)):
        archive = ARCHIVES / f"{which}.tar"
        if not archive.exists():
            pytest.skip("there are no archives: make images")
        assert archive.stat().st_size < most


def test_nothing_in_an_image_installs_software(server, stager):
    for image in (server, stager):
        names = {path.name for folder in ("usr/bin", "usr/local/bin") for path in (image.root / folder).iterdir()}
        assert not {name for name in names if name.startswith(("pip", "apt"))}
        done = image.run("python", "-c", "import pip")
        assert "No module named 'pip'" in done.stderr


def test_the_server_starts_as_any_user(server):
    done = server.run("tesk", "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert __version__ in done.stdout
    for module in ("aiohttp", "asyncpg", "obstore", "anycrc", "uvloop"):
        assert server.run("python", "-c", f"import {module}").returncode == 0, module


EVERY_MODULE = """
import importlib, pkgutil, sys
for room in ("tesk.stager", "tesk.storage", "tesk.pod"):
    package = importlib.import_module(room)
    for module in pkgutil.walk_packages(getattr(package, "__path__", []), room + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""


def test_the_stager_has_all_that_it_imports(stager):
    for uid in (0, 4711):
        done = stager.run("python", "-m", "tesk.stager.pod", uid=uid)
        assert done.stderr.startswith("usage: python -m tesk.stager.pod")
    done = stager.run("python", "-c", EVERY_MODULE)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_stager_has_the_shim(stager):
    done = stager.run("/shim/tesk-shim", "version")
    assert done.stdout == f"tesk-shim {__version__}, protocol 1\n"


def test_everything_is_compiled_so_that_it_starts_quickly_from_a_root_that_nobody_writes(server, stager):
    for image in (server, stager):
        done = image.run("python", "-v", "-c", "import tesk.pod, tesk.storage.schemes, tesk.stager.inputs")
        compiled = re.findall(r"# code object from '?([^'\n]+)'?", done.stderr)
        assert compiled
        assert [path for path in compiled if not path.endswith(".pyc")] == []


def test_an_image_is_readable_by_everybody(server, stager):
    for image in (server, stager):
        closed = [
            path
            for folder in ("usr/local", "shim")
            for path in (image.root / folder).rglob("*")
            if not path.is_symlink() and not os.stat(path).st_mode & 0o004
        ]
        assert closed == []
