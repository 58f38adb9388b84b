"""`tesk render`: what the backend `kubernetes` would create for a task. No server, no cluster."""

import argparse

import msgspec
from msgspec.structs import replace

from tesk.caller import LOCAL, Caller
from tesk.cli.config import HIDDEN, hidden
from tesk.cli.dispatch import USAGE
from tesk.cli.documents import Written, change
from tesk.cli.loaded import add_settings_arguments, settings_in_force
from tesk.cli.output import add_output_argument, print_document, talk
from tesk.cli.submit import read_tasks
from tesk.client.calls import body_of
from tesk.compute.backend import AttemptId
from tesk.compute.kubernetes.layout import NEWEST, chosen
from tesk.compute.kubernetes.manifests import job_manifest, pod_manifest
from tesk.compute.kubernetes.policy import Policy
from tesk.compute.kubernetes.secret import jobs, secret_manifest
from tesk.compute.kubernetes.settled import policy_of, settled
from tesk.compute.kubernetes.submission import Submissions
from tesk.compute.plan import Plan, make_plan
from tesk.errors import BadRequest, CannotRun
from tesk.settings import Settings, StorageSettings
from tesk.settings.reference import reference
from tesk.storage.needed import needed
from tesk.storage.schemes import in_force
from tesk.tes.document import bad_task
from tesk.tes.ids import LENGTH
from tesk.tes.validation import Accepted, accept

_UID = "00000000-0000-0000-0000-000000000000"
_TASK_ID = "0" * LENGTH


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take files, and what the server would be told."""
    add_settings_arguments(parser)
    add_output_argument(parser, default="yaml", formats=("yaml", "json"))
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="put a value into each task")
    parser.add_argument("--attempt", type=int, default=1, metavar="N", help="which try at the task (1)")
    parser.add_argument("--caller", default=LOCAL.name, metavar="NAME", help=f"whose task it is ({LOCAL.name})")
    parser.add_argument("files", nargs="+", metavar="FILE", help="YAML or JSON, several documents in one; - is stdin")


def run(args: argparse.Namespace) -> int:
    """Print the objects of each task, one after the other; what is not right with a task on stderr."""
    settings = settings_in_force(args).settings
    storage = in_force(settings.storage, personal=False, home="", current="", own=())
    settings = replace(settings, kubernetes=settled(settings), storage=storage)
    policy = policy_of(settings.kubernetes)
    caller = Caller(args.caller)
    made: list[object] = []
    tasks = [task for name in args.files for task in read_tasks(name)]
    refused = 0
    for written in tasks:
        try:
            accepted = _accept(written, args.set, settings, policy, caller)
            made += _objects(accepted, AttemptId(_TASK_ID, args.attempt), settings, policy, caller)
        except BadRequest as error:
            refused += 1
            talk(written.explain(error.problems))
        except CannotRun as error:
            refused += 1
            talk(f"{written.where()}: {error}")
    if refused:
        return USAGE
    for count, each in enumerate(made):
        if count and args.format == "yaml":
            print("---")
        print_document(each, args.format)
    cluster = settings.kubernetes
    if "auto" in (cluster.shim, cluster.pod_resources):
        talk(
            "(for a cluster with image volumes and resources of pods; see kubernetes.shim and kubernetes.pod_resources)"
        )
    return 0


def _accept(written: Written, changes: list[str], settings: Settings, policy: Policy, caller: Caller) -> Accepted:
    accepted = accept(
        body_of(change(written.document, changes, [])),
        parameters=policy.parameters,
        content_limit_bytes=settings.limits.content_bytes,
    )
    if problems := Submissions(policy, settings).check(accepted, caller):
        raise bad_task(problems)
    for warning in accepted.extension.warnings:
        talk(f"{written.where()}: {warning}")
    return accepted


def _objects(
    accepted: Accepted, attempt: AttemptId, settings: Settings, policy: Policy, caller: Caller
) -> list[object]:
    plan, cluster = _plan(accepted, settings, caller), settings.kubernetes
    asked = policy.asked(plan)
    pod = pod_manifest(attempt, plan, cluster, chosen(cluster, NEWEST), asked)
    storage = needed(settings.storage, plan.transfer, web_identity=bool(cluster.identity_audience))
    secret = secret_manifest(attempt, plan, _UID, storage, server_id=cluster.server_id, namespace=asked.namespace)
    # What the items say, for people; those in the cluster are gzipped, and Kubernetes takes either.
    told = jobs(attempt, plan, _UID, _masked(storage))
    secret = {key: value for key, value in secret.items() if key != "data"}
    secret["stringData"] = {key: msgspec.json.encode(job).decode() for key, job in told.items()}
    return [job_manifest(pod, asked.queue) if asked.queue else pod, secret]


def _plan(accepted: Accepted, settings: Settings, caller: Caller) -> Plan:
    asked, defaults = accepted.task.resources, settings.defaults
    return make_plan(
        accepted.task,
        task_id=_TASK_ID,
        owner=caller.name,
        extension=accepted.extension,
        cpu_cores=float(accepted.extension.cpu_cores or (asked and asked.cpu_cores) or defaults.cpu_cores),
        ram_bytes=round(((asked and asked.ram_gb) or defaults.ram_gb) * 1e9),
        disk_bytes=round(((asked and asked.disk_gb) or defaults.disk_gb) * 1e9),
        tail_bytes=settings.limits.log_tail_bytes,
    )


def _masked(storage: StorageSettings) -> StorageSettings:
    tree = msgspec.to_builtins(storage)
    for setting in reference():
        section, _, name = setting.key.rpartition(".")
        if section == "storage" and tree[name]:
            tree[name] = hidden(setting, tree[name]) if setting.columns else HIDDEN if setting.secret else tree[name]
    return msgspec.convert(tree, StorageSettings)
