"""`tesk submit`: tasks from YAML or JSON, one or many."""

import argparse
import sys
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path

from tesk.cli.dispatch import USAGE, is_wrong_input, say
from tesk.cli.documents import Written, change, read
from tesk.cli.ending import exit_code, explain
from tesk.cli.output import add_output_argument, moving, print_document, talk
from tesk.cli.session import Session, add_server_argument
from tesk.cli.wait import PATIENCE
from tesk.cli.waiting import wait_for_all
from tesk.client.answers import Document
from tesk.client.bulk import parts
from tesk.client.calls import body_of
from tesk.compute.plan import BACKEND_PARAMETERS, GPU_COUNT
from tesk.errors import BadDocument, BadRequest, RequestError
from tesk.settings import LimitsSettings
from tesk.tes.state import State
from tesk.tes.unknown import unknown_fields
from tesk.tes.validation import accept

CONTENT_LIMIT_BYTES = LimitsSettings().content_bytes
"""What a server takes whose settings do not say otherwise."""


EPILOG = """\
Ids are printed in the order of the files; the last task is @latest. Many go to a TESK server in one request, to others side
by side, but for the last, which is sent when all others are there. Fields that TES does not know are named, and ignored. The exit code is 2 where a task was refused
for what stands in it; the others are submitted all the same.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take files, and what to change in each task."""
    parser.epilog = EPILOG
    add_server_argument(parser)
    add_output_argument(parser, default="name", formats=("name", "json", "yaml"))
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="put a value into each task: name=x, executors.0.image=alpine",
    )
    parser.add_argument("--tag", action="append", default=[], metavar="KEY=VALUE", help="put a tag onto each task")
    parser.add_argument("--dry-run", action="store_true", help="check, print what would be sent, send nothing")
    parser.add_argument(
        "-w", "--wait", action="store_true", help="wait for the end of all; the exit code is the first bad one"
    )
    parser.add_argument("--parallel", type=int, default=8, metavar="N", help="requests at once (8)")
    parser.add_argument("files", nargs="+", metavar="FILE", help="YAML or JSON, several documents in one; - is stdin")


def run(args: argparse.Namespace) -> int:
    """Submit all that can be; print their ids in the order of the files."""
    written = [task for name in args.files for task in read_tasks(name)]
    tasks = [(each, change(each.document, args.set, args.tag)) for each in written]
    for each, task in tasks:
        if odd := unknown_fields(task):
            talk(each.explain(odd))
    if args.dry_run:
        return _dry_run(tasks, args.format)
    session = Session(args)
    ids, refused = list[str](), list[RequestError]()

    def told(written: Written, place: str | RequestError) -> None:
        if isinstance(place, str):
            ids.append(place)
            if args.format == "name":
                print(place, flush=True)
        else:
            refused.append(place)
            _refused(written, place)

    try:
        send = _in_batches if len(tasks) > 1 and session.can("batch") else _one_by_one
        with _bar(len(tasks)) as advance, closing(send(session, tasks, args.parallel)) as places:
            for each, place in places:
                told(each, place)
                advance()
    finally:
        # Also where the rest was not sent: these are.
        if args.format != "name" and (ids or refused):
            many = [{"id": each} for each in ids]
            print_document(many if len(tasks) > 1 else many[0] if many else None, args.format)
    if refused and len(tasks) > 1:
        talk(f"tesk: {len(refused)} of {len(tasks)} tasks were refused")
    ended = _wait(session.patient(PATIENCE), ids) if args.wait and ids else 0
    return ended or max((USAGE if is_wrong_input(each) else 1 for each in refused), default=0)


_Tasks = list[tuple[Written, Document]]
_Places = Generator[tuple[Written, str | RequestError]]
"""What became of tasks, in order: their ids, or why they are not stored."""


def _in_batches(session: Session, tasks: _Tasks, _parallel: int) -> _Places:
    left = iter(tasks)
    for bodies in parts([body_of(task) for _, task in tasks], session.abilities()):
        for place, (written, _) in zip(session.ask(session.calls.batch(bodies)), left, strict=False):
            yield written, place


def _one_by_one(session: Session, tasks: _Tasks, parallel: int) -> _Places:
    with ThreadPoolExecutor(max(1, min(parallel, len(tasks)))) as pool:

        def send(written: Written, task: Document) -> tuple[Written, Future[str]]:
            return written, pool.submit(session.ask, session.calls.create(body_of(task)))

        answers = [send(*each) for each in tasks[:-1]]
        try:
            # The last one is sent when all others are there: it is @latest then.
            for written, answer in chain(answers, (send(*each) for each in tasks[-1:])):
                try:
                    place: str | RequestError = answer.result()
                except RequestError as error:
                    place = error
                yield written, place
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # the server is gone, or Ctrl-C: send no more
            raise


def read_tasks(name: str) -> list[Written]:
    """Return the tasks of a file. Raises BadDocument."""
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadDocument(f"{name}: cannot be read: {error}") from error
    return read(text, "<stdin>" if name == "-" else name)


def _dry_run(tasks: list[tuple[Written, Document]], form: str) -> int:
    documents = []
    for written, task in tasks:
        try:
            accept(body_of(task), parameters=BACKEND_PARAMETERS | {GPU_COUNT}, content_limit_bytes=CONTENT_LIMIT_BYTES)
        except BadRequest as error:
            _refused(written, error)
        else:
            documents.append(task)
    if len(documents) < len(tasks):
        return USAGE
    print_document(documents if len(documents) > 1 else documents[0], "json" if form == "json" else "yaml")
    talk("(nothing was sent)")
    return 0


def _refused(written: Written, error: RequestError) -> None:
    problems = error.problems if isinstance(error, BadRequest) else ()
    if problems:
        talk(written.explain(problems))
    else:
        talk(f"{written.where()}:")
        say(error)


def _wait(session: Session, ids: list[str]) -> int:
    states = wait_for_all(session, ids)
    first = 0
    for task_id in ids:
        if states[task_id] != State.COMPLETE:
            task = session.ask(session.calls.get(task_id, "FULL"))
            explain(task)
            first = first or exit_code(task)
    return first


@contextmanager
def _bar(whole: int) -> Iterator[Callable[[], None]]:
    """Show on a terminal how many of many are done."""
    done, shown, width = 0, whole > 1 and moving(sys.stderr), 30

    def advance() -> None:
        nonlocal done
        done += 1
        if shown:
            full = width * done // whole
            sys.stderr.write(f"\r\x1b[K{'█' * full}{'░' * (width - full)} {done}/{whole}")
            sys.stderr.flush()

    try:
        yield advance
    finally:
        if shown:
            sys.stderr.write("\r\x1b[K")
