"""`tesk run`: one command as a task; wait, print what it prints, end as it ends."""

import argparse
import os
import re
from pathlib import Path
from urllib.parse import quote

from tesk.cli.dispatch import INTERRUPTED
from tesk.cli.ending import exit_code, explain, explain_executors, print_streams
from tesk.cli.loaded import home
from tesk.cli.output import talk
from tesk.cli.session import Session, add_server_argument
from tesk.cli.wait import PATIENCE
from tesk.cli.waiting import wait_for
from tesk.client.answers import Document, text_of
from tesk.client.calls import body_of
from tesk.errors import BadDocument
from tesk.settings.load import default_files, load

EPILOG = """\
examples:
  tesk run -- sh -c 'echo hello'
  tesk run --input reads.fq:/data/reads.fq --workdir /data -- wc -l reads.fq
  tesk run --output /out/:results/ -- sh -c 'date > /out/now'

SOURCE and TARGET are URLs, or files and folders here (a server on this machine may read and write those that its
settings allow). A path with / at its end is a folder. The exit code is the command's own; 125 is a system error,
130 a canceled task.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the command and what it needs."""
    parser.epilog = EPILOG
    add_server_argument(parser)
    parser.add_argument("--image", metavar="IMAGE", help="container image (the setting defaults.image)")
    parser.add_argument("--input", action="append", default=[], metavar="SOURCE:PATH", help="bring this to PATH first")
    parser.add_argument(
        "--output", action="append", default=[], metavar="PATH:TARGET", help="take PATH there at the end"
    )
    parser.add_argument("--cpu", type=float, metavar="CORES", help="cores")
    parser.add_argument("--ram", type=float, metavar="GB", help="memory in 10^9 bytes")
    parser.add_argument("--disk", type=float, metavar="GB", help="disk in 10^9 bytes")
    parser.add_argument(
        "--env", action="append", default=[], metavar="NAME[=VALUE]", help="a variable; without value: as here"
    )
    parser.add_argument("--workdir", metavar="PATH", help="where the command starts")
    parser.add_argument("--volume", action="append", default=[], metavar="PATH", help="a folder to write to")
    parser.add_argument("--name", metavar="NAME", help="name of the task")
    parser.add_argument("--tag", action="append", default=[], metavar="KEY=VALUE", help="a tag")
    parser.add_argument("--callback-url", metavar="URL", help="where the server tells each state of the task (TESK)")
    parser.add_argument("-d", "--detach", action="store_true", help="print the id and do not wait")
    parser.add_argument(
        "program", nargs=argparse.REMAINDER, metavar="-- COMMAND ...", help="the command and its arguments"
    )


def run(args: argparse.Namespace) -> int:
    """Run it."""
    task = task_of(args)
    session = Session(args)
    task_id = session.ask(session.calls.create(body_of(task)))
    if args.detach:
        print(task_id)
        return 0
    session = Session(args, PATIENCE)
    try:
        wait_for(session, task_id)
    except KeyboardInterrupt:
        talk(f"canceling {task_id} (Ctrl-C again does not wait for it)")
        session.ask(session.calls.cancel(task_id))
        wait_for(session, task_id)
        return INTERRUPTED
    ended = session.ask(session.calls.get(task_id, "FULL"))
    print_streams(ended)
    # That the command itself failed, its exit code says.
    if text_of(ended, "state") == "EXECUTOR_ERROR":
        explain_executors(ended)
    else:
        explain(ended)
    return exit_code(ended)


def task_of(args: argparse.Namespace) -> Document:
    """Return the task that was typed."""
    command = args.program[1:] if args.program[:1] == ["--"] else args.program
    if not command:
        raise BadDocument("no command: write it behind --, as in: tesk run -- sh -c 'echo hello'")
    image = args.image or load(environ=os.environ, files=default_files(home())).settings.defaults.image
    executor: Document = {"image": image, "command": command}
    if args.workdir:
        executor["workdir"] = args.workdir
    if args.env:
        executor["env"] = dict(_variable(each) for each in args.env)
    task: Document = {"name": args.name or " ".join(command)[:60], "executors": [executor]}
    resources = {"cpu_cores": args.cpu, "ram_gb": args.ram, "disk_gb": args.disk}
    if any(resources.values()):
        task["resources"] = {name: value for name, value in resources.items() if value is not None}
    if args.input:
        task["inputs"] = [input_of(each) for each in args.input]
    if args.output:
        task["outputs"] = [output_of(each) for each in args.output]
    if args.volume:
        task["volumes"] = args.volume
    if args.tag:
        task["tags"] = {key: value for key, _, value in (each.partition("=") for each in args.tag)}
    if args.callback_url:
        task["callback_url"] = args.callback_url
    return task


def input_of(typed: str) -> Document:
    """Return the `tesInput` for `SOURCE:PATH`; PATH begins with `/`, so the last `:/` that is not of a `://` parts them."""
    parts = re.fullmatch(r"(.+):(/(?!/).*)", typed)
    if parts is None:
        raise BadDocument(f"--input {typed}: write SOURCE:/path/in/the/task")
    return {"url": _url(parts[1]), "path": _path(parts[2]), "type": _type(parts[1], parts[2])}


def output_of(typed: str) -> Document:
    """Return the `tesOutput` for `PATH:TARGET`; the first `:` parts them. With wildcards, TARGET is a folder."""
    path, sign, target = typed.partition(":")
    if not sign or not target or not path.startswith("/"):
        raise BadDocument(f"--output {typed}: write /path/in/the/task:TARGET")
    output: Document = {"url": _url(target), "path": _path(path)}
    if wild := re.search(r"[*?\[]", path):
        output["path_prefix"] = _path(path[: wild.start()].rpartition("/")[0] or "/")
    else:
        output["type"] = "DIRECTORY" if path.endswith("/") else "FILE"
    return output


def _url(typed: str) -> str:
    return typed if _is_url(typed) else "file://" + quote(os.path.abspath(Path(typed).expanduser()))


def _path(typed: str) -> str:
    return typed.rstrip("/") or "/"


def _type(source: str, path: str) -> str:
    if source.startswith("data:"):  # its last letter may be a `/` of base64
        return "FILE"
    folder = path.endswith("/") or source.endswith("/") or (not _is_url(source) and Path(source).expanduser().is_dir())
    return "DIRECTORY" if folder else "FILE"


def _is_url(typed: str) -> bool:
    return "://" in typed or typed.startswith("data:")


def _variable(typed: str) -> tuple[str, str]:
    name, sign, value = typed.partition("=")
    if not sign and name not in os.environ:
        raise BadDocument(f"--env {name}: there is no such variable here; write {name}=VALUE")
    return name, value if sign else os.environ[name]
