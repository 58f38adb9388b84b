"""The flags that stand for settings, and the settings in force: for the commands that work on this machine's server."""

import argparse
import os
from pathlib import Path

from tesk.errors import SettingsError
from tesk.settings.load import Loaded, default_files, load

FLAGS = (
    "server.host",
    "server.port",
    "server.insecure",
    "data_dir",
    "database",
    "backend",
    "local.sandbox",
    "local.network",
    "log.level",
)
"""Settings that have a flag, named by the last part of the key."""


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """Take `--config`, and the flags that say which database."""
    parser.add_argument("--config", metavar="FILE", help="settings file (TOML or JSON) instead of the usual ones")
    parser.add_argument(
        "--data-dir", metavar="FOLDER", help="where the server keeps its database and the tasks' folders"
    )
    parser.add_argument("--database", metavar="URL", help="postgresql://..., or a path for SQLite")


def add_settings_arguments(parser: argparse.ArgumentParser) -> None:
    """Take every flag that stands for a setting."""
    add_config_argument(parser)
    parser.add_argument("--host", metavar="ADDRESS", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", metavar="PORT", help="port to listen on (8000); 0 takes a free one")
    parser.add_argument(
        "--insecure", action="store_const", const="true", help="serve anybody who can connect, without authentication"
    )
    parser.add_argument(
        "--backend", metavar="NAME", help="where tasks run: local, containers (podman, docker) or kubernetes"
    )
    parser.add_argument(
        "--sandbox", metavar="bwrap|none", help="`none` gives up isolation between tasks and this machine"
    )
    parser.add_argument("--network", metavar="auto|nat|off|host", help="what executors can reach")
    parser.add_argument("--level", metavar="LEVEL", help="least severe lines of the log: debug, info, warning, error")


def settings_in_force(args: argparse.Namespace) -> Loaded:
    """Return the settings that flags, variables and files make. Raises SettingsError."""
    given = vars(args)
    flags = {key: given.get(key.rpartition(".")[2]) for key in FLAGS}
    if flags["local.network"] != "auto":
        flags["containers.network"] = flags["local.network"]
    return load(environ=os.environ, config=args.config, flags=flags, files=default_files(home()))


def home() -> Path:
    """Return the home folder; raise SettingsError where there is none to be found."""
    try:
        return Path.home()
    except RuntimeError as error:
        raise SettingsError(f"no home folder: {error}; set HOME") from error
