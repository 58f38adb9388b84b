"""Within an image: install wheels, compile what will run, and take away what never does."""

import compileall
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from py_compile import PycInvalidationMode

SYSTEM = (
    "/build",
    "/usr/lib/apt",
    "/usr/lib/python3/dist-packages",
    "/usr/share/bash-completion",
    "/usr/share/doc",
    "/usr/share/info",
    "/usr/share/lintian",
    "/usr/share/locale",
    "/usr/share/man",
    "/usr/share/python-wheels",
    "/var/cache/apt",
    "/var/cache/debconf",
    "/var/lib/apt/lists",
    "/var/lib/dpkg/info",
    "/var/log",
)
STANDARD_LIBRARY = ("ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tkinter", "turtledemo")
INSTALLERS = ("pip", "setuptools", "wheel", "pkg_resources", "_distutils_hack")
LARGE = (
    "/usr/lib/*-linux-gnu/gconv/*.so",
    "/usr/lib/*-linux-gnu/perl-base",
    "/usr/bin/perl*",
    "/usr/share/zoneinfo/right",
)
LARGE_OF_PYTHON = ("config-*", "lib-dynload/_test*", "lib-dynload/_tkinter*")


def main(wheels: str, *requirements: str) -> None:
    """Install `requirements` out of a folder of wheels, and nothing out of anywhere else."""
    options = ["--no-index", "--find-links", wheels, "--no-compile", "--no-cache-dir", "--break-system-packages"]
    quiet = ["--quiet", "--disable-pip-version-check", "--root-user-action", "ignore"]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, *quiet, *requirements], check=True)
    scripts = Path("/usr/local/bin/tesk")
    if not scripts.exists():
        raise SystemExit(f"{sys.executable} does not install programs to {scripts.parent}: BASE has another layout")
    python = Path("/usr/local/bin/python")
    if shutil.which("python") is None:
        python.symlink_to(sys.executable)
    for path in {*superfluous()}:
        delete(path)
    # Whoever reads an image as any user cannot write what was compiled, and an image's dates need not be its sources'.
    for folder in {*packages(), Path(sysconfig.get_path("stdlib"))}:
        compileall.compile_dir(
            str(folder), quiet=1, force=True, workers=0, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH
        )


def packages() -> Iterator[Path]:
    """Yield the folders that packages are installed to."""
    for folder in sys.path:
        if folder.endswith("-packages") and os.path.isdir(folder):
            yield Path(folder)


def superfluous() -> Iterator[Path]:
    """Yield what no program of ours opens."""
    yield from map(Path, SYSTEM)
    yield from (path for pattern in LARGE for path in Path("/").glob(pattern[1:]))
    library = Path(sysconfig.get_path("stdlib"))
    yield from (library / name for name in STANDARD_LIBRARY)
    yield from (path for pattern in LARGE_OF_PYTHON for path in library.glob(pattern))
    for folder in packages():
        for name in INSTALLERS:
            yield from (*folder.glob(name), *folder.glob(f"{name}-*"), *folder.glob(f"{name}[._]py"))
        yield folder / "distutils-precedence.pth"
        yield from (
            path for name in ("tests", "test", "*.pyi", "*.c", "*.h", "*.pyx", "*.pxd") for path in folder.rglob(name)
        )
    yield from (path for folder in ("/usr/local/bin", "/usr/bin") for path in Path(folder).glob("pip*"))
    yield from (path for folder in ("/usr/local/bin", "/usr/bin") for path in Path(folder).glob("apt*"))


def delete(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
