"""The other words, and what is true of all."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import yaml
from msgspec.structs import replace

from fakes import served
from fakes.tes_server import FakeTes
from tesk import __version__
from tesk.api.hashing import PasswordHash, token_digest
from tesk.cli.completion import bash, fish, zsh
from tesk.cli.config import without_password
from tesk.cli.main import COMMANDS
from tesk.cli.reference import markdown, reference
from tesk.settings import AuthSettings, Settings


def test_the_version_is_said_in_both_ways(tesk):
    assert tesk("--version").stdout == tesk("version").stdout == f"tesk {__version__}\n"


@pytest.mark.parametrize("word", COMMANDS)
def test_every_word_explains_itself(tesk, word):
    done = tesk(word, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: tesk {word}")


def test_a_word_that_is_none_is_a_mistake_of_typing(tesk):
    done = tesk("lst")
    assert done.returncode == 2
    assert "invalid choice: 'lst'" in done.stderr
    assert tesk().returncode == 2


def listed(server):
    server.add({"name": "first\x1b[31m", "executors": [{"command": ["a"]}], "tags": {"k": "1"}, "_states": ["RUNNING"]})
    server.add({"name": "second", "executors": [{"command": ["b", "c"]}], "resources": {"cpu_cores": 2, "ram_gb": 0.5}})


def test_list_prints_in_every_form(tesk_at, serve):
    server = serve(states=["COMPLETE"])
    listed(server)
    tesk = tesk_at(server)
    assert tesk("list").stdout.splitlines() == [
        "ID      STATE     CREATED              NAME",
        "task-2  COMPLETE  2024-05-06 07:08:09  second",
        "task-1  RUNNING   2024-05-06 07:08:09  first?[31m",
    ]
    assert "0.5" in tesk("list", "-o", "wide").stdout
    assert tesk("list", "-o", "name").stdout == "task-2\ntask-1\n"
    assert [task["id"] for task in json.loads(tesk("list", "-o", "json").stdout)] == ["task-2", "task-1"]
    assert [task["id"] for task in yaml.safe_load(tesk("list", "-o", "yaml").stdout)] == ["task-2", "task-1"]
    assert tesk("list", "--name-prefix", "x", "-o", "name").returncode == 0
    assert tesk("list", "--tag", "k=1", "-o", "name").stdout == "task-1\n"
    assert json.loads(tesk("list", "--tag", "no=1", "-o", "json").stdout) == []


def test_list_says_that_there_are_more(tesk_at, serve):
    server = serve()
    for _ in range(5):
        server.add({"executors": [{}]})
    some, every = tesk_at(server)("list", "--limit", "3", "-o", "name"), tesk_at(server)("list", "--limit", "5")
    assert some.stdout == "task-5\ntask-4\ntask-3\n"
    assert "more than 3" in some.stderr
    assert every.stderr == ""


def test_get_prints_one_task_as_it_is_and_several_as_a_list(tesk_at, serve):
    server = serve()
    listed(server)
    tesk = tesk_at(server)
    assert json.loads(tesk("get", "@latest", "-o", "json").stdout)["name"] == "second"
    assert [task["id"] for task in yaml.safe_load(tesk("get", "task-1", "task-2").stdout)] == ["task-1", "task-2"]


def test_there_is_no_latest_task_where_there_is_none(tesk_at, serve):
    done = tesk_at(serve())("get", "@latest")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no task yet" in done.stderr


def test_cancel_goes_on_where_one_is_refused(tesk_at, serve):
    server = serve()
    listed(server)
    done = tesk_at(server)("cancel", "nosuch", "task-1", "--wait")
    assert (done.stdout, done.returncode) == ("task-1 CANCELED\n", 1)
    assert "no task nosuch" in done.stderr


def test_service_info_is_shown(tesk_at, serve):
    assert yaml.safe_load(tesk_at(serve())("service-info").stdout)["id"] == "fake"


def test_the_token_goes_along_and_no_flag_takes_one(tesk_at, serve):
    server = serve()
    tesk_at(server)("service-info", TESK_TOKEN="geheim")
    assert server.requests[0][2]["authorization"] == "Bearer geheim"


def test_who_is_not_known_hears_where_a_token_goes(tesk_at, tmp_path):
    auth = AuthSettings(token="a-token-made-at-random")
    with served.serve(tmp_path, replace(Settings(), auth=auth)) as server:
        unknown = tesk_at(server)("list")
        assert (unknown.returncode, unknown.stderr.splitlines()[-1].strip()) == (
            1,
            "try: TESK_TOKEN=TOKEN, or a name and password in TESK_SERVER",
        )
        known = tesk_at(server)("list", TESK_TOKEN="a-token-made-at-random")
        assert (known.returncode, known.stderr) == (0, "")


def test_without_a_server_the_person_hears_what_helps(tesk_at):
    server = FakeTes()
    server.server_close()
    done = tesk_at(server)("list")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1


def test_examples_are_listed_and_printed_and_are_good_tasks(tesk):
    names = [line.split()[0] for line in tesk("examples").stdout.splitlines()]
    assert "hello" in names
    for name in names:
        shown = tesk("examples", name).stdout
        assert tesk("submit", "-", "--dry-run", stdin=shown).returncode == 0, name
    assert "there are" in tesk("examples", "nosuch").stderr


def test_config_prints_what_is_in_force_and_from_where_without_secrets(tesk, tmp_path):
    (tmp_path / "c.toml").write_text("[[auth.tokens]]\nname = 'a'\ntoken_hash = 'geheim'\n[server]\nport = 9\n")
    environ = {"TESK_DATABASE": "postgresql://u:geheim@h/d?password=geheim", "TESK_LOG_LEVEL": "debug"}
    done = tesk("config", "--config", "c.toml", "--changed", "--host", "::1", **environ)
    assert "geheim" not in done.stdout + done.stderr
    assert done.stdout.splitlines() == [
        'database = "postgresql://u:***@h/d?password=***"              # TESK_DATABASE',
        'server.host = "::1"                                           # --host',
        "server.port = 9                                               # c.toml:5",
        'auth.tokens = [{ name = "a", token_hash = "***", admin = false, reads_only = false }]  # c.toml:1',
        'log.level = "debug"                                           # TESK_LOG_LEVEL',
    ]


def test_what_config_prints_is_a_settings_file(tesk, tmp_path):
    (tmp_path / "c.toml").write_text(tesk("config", TESK_STORAGE_FILE_ROOTS="/a:/b").stdout)
    again = json.loads(tesk("config", "--config", "c.toml", "-o", "json").stdout)
    assert [root["path"] for root in again["storage.file_roots"]["value"]] == ["/a", "/b"]
    assert again["storage.file_roots"]["from"].startswith("c.toml:")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("/data/tesk.db", "/data/tesk.db"),
        ("postgresql://u:p@h:1/d", "postgresql://u:***@h:1/d"),
        ("postgresql://u:p%40@[::1]/d", "postgresql://u:***@[::1]/d"),
        ("postgresql:///d?host=/run&password=p", "postgresql:///d?host=/run&password=***"),
    ],
)
def test_a_database_is_shown_without_its_password(url, shown):
    assert without_password(url) == shown


def test_a_wrong_setting_ends_with_2_and_names_the_near_one(tesk):
    done = tesk("config", TESK_SERVER_PROT="1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean TESK_SERVER_PORT" in done.stderr


def test_the_hash_of_a_secret_is_what_the_settings_want(tesk):
    assert PasswordHash(tesk("hash-secret", stdin="geheim\n").stdout.strip(), "x").matches("geheim")
    token = "t" * 24
    assert token_digest(tesk("hash-secret", "--token", stdin=token).stdout.strip(), "x")
    made = tesk("hash-secret", "--new")
    secret = made.stderr.removeprefix("token: ").strip()
    assert tesk("hash-secret", "--token", stdin=secret).stdout == made.stdout
    assert tesk("hash-secret", stdin="").returncode == 2


def test_database_verbs_work_without_a_server(tesk, tmp_path):
    assert tesk("database", "upgrade", "--data-dir", "d").returncode == 0
    assert tesk("database", "check", "--data-dir", "d").stdout == "nothing is wrong\n"
    assert tesk("database", "prune", "--data-dir", "d", "--tasks-days", "1").stdout == "removed 0 tasks and 0 events\n"
    assert tesk("database", "prune", "--data-dir", "d").returncode == 2
    assert tesk("database", "backup", "copy.db", "--data-dir", "d").returncode == 0
    assert (tmp_path / "copy.db").stat().st_size
    assert tesk("database", "check", "--database", "copy.db").returncode == 0


def test_doctor_says_a_line_for_each_thing_and_what_helps(tesk):
    done = tesk("doctor", "--network", "off", "--data-dir", "d")
    subjects = [line[5:].partition(":")[0] for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert subjects == ["python", "settings", "sandbox", "network", "memory", "database", "disk", "port", "server"]
    assert "fail" not in done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize("network", ["auto", "off", "host"])
def test_doctor_names_what_to_try_for_each_warning(tesk, network):
    done = tesk("doctor", "--network", network, "--insecure", "--data-dir", "d")
    lines = done.stdout.splitlines()
    warnings = [number for number, line in enumerate(lines) if line.startswith("warn")]
    assert len(warnings) >= 2, done.stdout  # the settings, and no server
    for number in warnings:
        assert lines[number + 1].startswith("       try: "), done.stdout
    assert ("network" in "".join(lines[number] for number in warnings)) or network != "host"


def test_doctor_names_the_files_that_settings_come_from(tesk, tmp_path):
    (tmp_path / "config").write_text('{"server": {"port": 0}}')
    (tmp_path / "ours.toml").write_text("[server]\nport = 0\n")
    for name in ("config", "ours.toml"):
        done = tesk("doctor", "--network", "off", TESK_CONFIG=str(tmp_path / name), TESK_LOG_LEVEL="info")
        assert f"ok   settings: from {tmp_path / name}\n" in done.stdout


def test_doctor_fails_where_a_setting_is_wrong(tesk):
    done = tesk("doctor", "--port", "http")
    assert done.returncode == 1
    assert "fail settings: --port: server.port" in done.stdout


@pytest.mark.parametrize("name", ["c.json", "c.toml", "settings"])
def test_doctor_names_the_settings_file_whatever_it_is_called_and_holds(tesk, tmp_path, name):
    for text in ("{}", '{"server": {"port": 8123}}') if name == "c.json" else ("", "server.port = 8123\n"):
        (tmp_path / name).write_text(text)
        done = tesk("doctor", "--kubernetes", "--config", name, "--data-dir", "d")
        assert done.stdout.splitlines()[1] == f"ok   settings: from {name}"


def test_doctor_says_in_the_words_of_the_file_what_is_wrong_in_it(tesk, tmp_path):
    for name, text, right in (("c.json", '{"server": 3}', '"server": {...}'), ("c.toml", "server = 3", "[server]")):
        (tmp_path / name).write_text(text)
        said = tesk("doctor", "--config", name).stdout.splitlines()[1]
        assert said.startswith(f"fail settings: {name}")
        assert said.endswith(f": server is a table: write {right}")


def test_the_scripts_for_shells_know_every_word_and_flag(tmp_path):
    words = reference()
    for script, shell in ((bash(words), "bash"), (zsh(words), "zsh"), (fish(words), "fish")):
        assert all(word in script for word in COMMANDS)
        if shutil.which(shell):
            (tmp_path / shell).write_text(script)
            subprocess.run([shell, "-n", tmp_path / shell], check=True)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["tesk", "ser"], ["serve", "service-info"]),
        (["tesk", "list", "-o", "j"], ["json"]),
        (["tesk", "list", "--st"], ["--state"]),
        (["tesk", "database", "ba"], ["backup"]),
        (["tesk", "completion", "z"], ["zsh"]),
        (["tesk", "cancel", "@"], ["@latest"]),
    ],
)
def test_bash_completes(typed, offered):
    words = " ".join(f"'{word}'" for word in typed)
    script = f"{bash(reference())}\nCOMP_WORDS=({words}); COMP_CWORD={len(typed) - 1}; _tesk; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == offered


def test_the_reference_for_the_docs_has_every_word_with_every_flag():
    shown = markdown()
    for word in reference():
        assert f"## `tesk {word.name}`" in shown
        for argument in word.arguments:
            assert argument.help, (word.name, argument)
    assert "125" in shown


def test_a_reader_that_has_enough_is_no_error(tesk_at, serve):
    server = serve()
    for number in range(300):
        server.add({"name": f"{number} " + "x" * 1000, "executors": [{}]})
    process = tesk_at(server).start("list", "--limit", "0", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(30) == 128 + signal.SIGPIPE


def test_a_start_costs_little(tesk_at, serve):
    """`make bench` has the ratios; here only what breaks them: a heavy module that came along."""
    server = serve()
    heavy = ("msgspec", "yaml", "asyncio", "starlette", "uvicorn", "sqlite3", "httpcore", "typing_extensions")
    code = (
        "import sys; from tesk.cli.main import main; main({typed}); "
        f"print(sorted(set({heavy}) & set(sys.modules)), file=sys.stderr)"
    )
    for typed in (["--version"], ["list"]):
        done = subprocess.run(
            [sys.executable, "-c", code.format(typed=typed)],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"TESK_SERVER": server.url},
        )
        assert done.stderr == "[]\n"
