"""`tesk submit`: what a person wrote, and what is wrong with it."""

import json

import pytest
import yaml

from tesk.cli.documents import as_yaml, change, read
from tesk.errors import BadDocument, Problem

GOOD = "name: one\nexecutors:\n  - image: debian\n    command: [echo, yes, 1:30, 2024-01-01, 0777, 'no']\n"


def test_many_documents_are_submitted_in_order(tesk_at, serve, tmp_path):
    server = serve()
    (tmp_path / "two.yaml").write_text(f"{GOOD}---\n---\n{GOOD.replace('one', 'two')}")
    (tmp_path / "lines.json").write_text("".join(json.dumps({"name": n, "executors": [{}]}) + "\n" for n in ("3", "4")))
    stdin = json.dumps([{"name": "5", "executors": [{}]}])
    done = tesk_at(server)("submit", "--parallel", "1", "two.yaml", "lines.json", "-", stdin=stdin)
    assert done.stdout == "task-1\ntask-2\ntask-3\ntask-4\ntask-5\n"
    assert [task["name"] for task in server.tasks.values()] == ["one", "two", "3", "4", "5"]


def test_the_words_of_yaml_stay_the_words_that_were_written():
    (task,) = read(GOOD, "f")
    assert task.document["executors"][0]["command"] == ["echo", "yes", "1:30", "2024-01-01", "0777", "no"]
    (task,) = read("a: 1\nb: 1.5e3\nc: true\nd: null\ne: ~\nf:\ng: on\n", "f")
    assert task.document == {"a": 1, "b": 1500.0, "c": True, "d": None, "e": None, "f": None, "g": "on"}


def test_what_is_printed_as_yaml_is_read_as_the_same():
    task = {
        "command": ["sh", "-c", "echo 1\necho 2\n"],
        "name": "yes",
        "date": "2024-01-01",
        "n": "1",
        "x": "a: b",
        "ü": " ",
    }
    assert read(as_yaml(task), "f")[0].document == task
    assert yaml.safe_load(as_yaml(task)) == task


def test_set_and_tag_change_each_task(tesk_at, serve):
    server = serve()
    typed = ["--set", "name=x=y", "--set", "executors.0.image=alpine", "--set", "resources.cpu_cores=2.5"]
    typed += ["--set", "executors.0.ignore_error=true", "--set", 'volumes=["/v"]', "--tag", "run=7"]
    tesk_at(server)("submit", "-", *typed, stdin=f"{GOOD}---\n{GOOD}")
    for task in server.tasks.values():
        assert (task["name"], task["resources"], task["tags"]) == ("x=y", {"cpu_cores": 2.5}, {"run": "7"})
        assert task["executors"][0] | {"command": 0} == {"image": "alpine", "command": 0, "ignore_error": True}
        assert task["volumes"] == ["/v"]


def test_set_may_append_to_a_list():
    assert change({}, ["executors.0.image=a", "executors.0.command.0=b"], [])["executors"] == [
        {"image": "a", "command": ["b"]}
    ]


@pytest.mark.parametrize(
    "typed", ["name", "=x", "name.a=1", "executors.7.image=a", "resources.cpu_cores=many", "volumes=[a"]
)
def test_a_set_that_fits_nowhere_is_refused(typed):
    with pytest.raises(BadDocument):
        change({"name": "x", "executors": [{}]}, [typed], [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [\n b", "f:3: no YAML"),
        ("a: 1\n\tb: 2", "f:2: no YAML"),
        ('{"a": 1}\n{"b" 2}', "f:2: no JSON"),
        ("- 1", "f:1: a task is an object"),
        ("", "f: there is no task in it"),
        ("---\n", "f: there is no task in it"),
    ],
)
def test_a_text_that_holds_no_task_names_the_line(text, said):
    with pytest.raises(BadDocument, match=said):
        read(text, "f")


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("name: a\n---\nname: b\nexecutors:\n  - image: x\n    command: y\n", "executors[0].command", 6),
        ("name: a\n---\nname: b\nexecutors:\n  - image: x\n", "executors[0].command", 5),
        ("name: a\n---\nname: b\n", "executors", 3),
        ('[{"name": "a"},\n {"name": "b",\n  "executors": 1}]', "executors", 3),
        ('{"name": "a"}\n{"name": "b",\n\n"executors": 1}', "executors", 4),
        ('{"name": "a"}\n{"name": "b",\n\t"executors": 1}', "executors", 3),
    ],
)
def test_the_line_of_a_field_is_found(text, path, line):
    assert read(text, "f")[-1].explain((Problem(path, "wrong"),)) == f"f:{line}: {path}: wrong"


def test_what_the_server_refuses_is_said_with_file_line_and_field_and_the_others_are_submitted(
    tesk_at, serve, tmp_path
):
    (tmp_path / "tasks.yaml").write_text(f"name: bad\ninputs:\n  - path: rel\n---\n{GOOD}")
    done = tesk_at(serve())("submit", "tasks.yaml")
    assert done.stdout == "task-1\n"
    assert done.returncode == 2  # as with --dry-run
    assert "tasks.yaml:1: executors: at least one" in done.stderr
    assert "tasks.yaml:3: inputs[0].path: must be absolute" in done.stderr


def test_dry_run_checks_prints_and_sends_nothing(tesk_at, serve):
    server = serve()
    good = tesk_at(server)("submit", "-", "--dry-run", "--set", "name=x", stdin=GOOD)
    assert (yaml.safe_load(good.stdout)["name"], good.returncode) == ("x", 0)
    bad = tesk_at(server)(
        "submit", "-", "--dry-run", stdin="name: x\nexecutors:\n  - image: ''\n    command: [sleep, 5]\n"
    )
    assert bad.stdout == ""
    assert "<stdin>:3: executors[0].image" in bad.stderr
    assert "<stdin>:4: executors[0].command[1]" in bad.stderr
    assert bad.returncode == 2
    assert not server.requests


@pytest.mark.parametrize("way", [(), ("--dry-run",)])
def test_a_field_that_tes_does_not_know_is_named_with_the_nearest_one(tesk_at, serve, way):
    server = serve()
    done = tesk_at(server)("submit", "-", *way, stdin=GOOD + "    comand: [ls]\nresource: {}\n")
    assert done.stderr.splitlines()[:2] == [
        "<stdin>:6: resource: no field of TES (did you mean resources?), so it is ignored",
        "<stdin>:5: executors[0].comand: no field of TES (did you mean command?), so it is ignored",
    ]
    assert done.returncode == 0
    assert len(server.tasks) == (0 if way else 1)


def test_the_last_document_is_the_latest_task(tesk_at, serve, tmp_path):
    (tmp_path / "many.yaml").write_text("---\n".join(GOOD.replace("one", str(n)) for n in range(40)))
    server = serve()
    done = tesk_at(server)("submit", "many.yaml")
    assert len(done.stdout.split()) == 40
    last = done.stdout.split()[-1]
    assert last == f"task-{len(server.tasks)}"
    assert server.tasks[last]["name"] == 39


def test_a_task_that_is_too_large_is_wrong_input_and_a_server_that_does_not_want_it_is_not(tesk_at, serve):
    for status, code in ((413, 2), (403, 1), (422, 1)):
        server = serve(script=[(status, {}, b"{}")])
        assert tesk_at(server)("submit", "-", stdin=GOOD).returncode == code


def test_wait_ends_with_the_first_bad_code(tesk_at, serve):
    server = serve(states=["SYSTEM_ERROR"], logs=[{"logs": [], "system_logs": ["no such file"]}])
    done = tesk_at(server)("submit", "-", "--wait", stdin=GOOD)
    assert (done.stdout, done.returncode) == ("task-1\n", 125)
    assert "no such file" in done.stderr


def test_a_terminal_sees_a_bar_when_many_are_submitted(tesk_at, serve, tmp_path):
    (tmp_path / "many.yaml").write_text("---\n".join([GOOD] * 20))
    server = serve()
    seen, code = tesk_at(server).on_a_terminal("submit", "many.yaml")
    assert code == 0
    assert "20/20" in seen
    assert len(server.tasks) == 20


def test_a_file_that_is_not_there_is_named(tesk):
    done = tesk("submit", "no.yaml")
    assert done.returncode == 2
    assert "no.yaml: cannot be read" in done.stderr
