"""Settings from flags, variables and files."""

import json

import pytest

from tesk.errors import SettingsError
from tesk.settings import FileRoot, Settings
from tesk.settings.load import default_files, load
from tesk.settings.reference import reference


def wrong(**given):
    with pytest.raises(SettingsError) as caught:
        load(**({"environ": {}} | given))
    return str(caught.value).splitlines()


@pytest.fixture
def file(tmp_path):
    def write(text, name="config.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_nothing_given_is_the_tree_as_it_stands():
    loaded = load(environ={})
    assert loaded.settings == Settings()
    assert set(loaded.origins.values()) == {"default"}
    assert set(loaded.origins) == {setting.key for setting in reference()}


def test_flags_go_over_variables_over_a_persons_file_over_the_machines(file):
    machine = file(
        "data_dir = '/machine'\ndatabase = '/machine.db'\n[server]\nport = 1\n[log]\nlevel = 'debug'\n", "machine.toml"
    )
    own = file("database = '/own.db'\n[server]\nport = 2\nhost = '::1'\n", "own.toml")
    loaded = load(
        files=(machine, own, own.with_name("absent.toml")),
        environ={"TESK_SERVER_PORT": "3", "TESK_SERVER_HOST": "127.0.0.2"},
        flags={"server.port": "4", "backend": None},
    )
    settings = loaded.settings
    assert (settings.data_dir, settings.database, settings.log.level) == ("/machine", "/own.db", "debug")
    assert (settings.server.host, settings.server.port) == ("127.0.0.2", 4)
    assert loaded.origins["data_dir"] == f"{machine}:1"
    assert loaded.origins["database"] == f"{own}:1"
    assert loaded.origins["server.host"] == "TESK_SERVER_HOST"
    assert loaded.origins["server.port"] == "--port"
    assert loaded.origins["log.level"] == f"{machine}:6"


def test_a_named_file_stands_alone_and_the_flag_for_it_goes_over_the_variable(file):
    usual, by_variable, by_flag = (file(f"[server]\nport = {n}\n", f"{n}.toml") for n in (1, 2, 3))
    environ = {"TESK_CONFIG": str(by_variable)}
    assert load(environ=environ, files=(usual,)).settings.server.port == 2
    assert load(environ=environ, config=str(by_flag), files=(usual,)).settings.server.port == 3


def test_a_named_file_that_is_not_there_is_an_error(tmp_path):
    assert "cannot be read" in wrong(config=str(tmp_path / "no.toml"))[0]


def test_the_usual_files_are_the_machines_and_the_persons(tmp_path):
    assert [str(path) for path in default_files(tmp_path)] == [
        "/etc/tesk/config.toml",
        str(tmp_path / ".config/tesk/config.toml"),
    ]


def test_every_variable_is_resolved_by_the_tree():
    by_key = {setting.key: setting.variable for setting in reference()}
    assert by_key["storage.file_roots"] == "TESK_STORAGE_FILE_ROOTS"
    assert len(set(by_key.values())) == len(by_key)


def test_variables_become_what_the_setting_is():
    settings = load(
        environ={
            "TESK_SERVER_PORT": "0",
            "TESK_SERVER_INSECURE": "true",
            "TESK_LOCAL_OVERCOMMIT_CPU": "1.5",
            "TESK_LOCAL_PATH": "/a/bin:/b/bin",
            "TESK_SERVER_CORS_ORIGINS": "https://a.example, https://b.example:8443",
            "TESK_STORAGE_PRIVATE_ADDRESSES": "false",
            "TESK_STORAGE_FILE_ROOTS": "/in:/out",
            "TESK_AUTH_TOKENS": json.dumps([{"name": "a", "token_hash": "h", "admin": True}]),
        }
    ).settings
    assert (settings.server.port, settings.server.insecure) == (0, True)
    assert settings.local.overcommit_cpu == 1.5
    assert settings.local.path == ("/a/bin", "/b/bin")
    assert settings.server.cors_origins == ("https://a.example", "https://b.example:8443")
    assert settings.storage.private_addresses is False
    assert settings.storage.file_roots == (FileRoot(path="/in", write=True), FileRoot(path="/out", write=True))
    assert settings.auth.tokens[0].admin


def test_a_list_in_a_variable_may_be_json():
    environ = {"TESK_LOCAL_PATH": '["/with:colon"]', "TESK_STORAGE_FILE_ROOTS": '["/a", {"path": "/b"}]'}
    settings = load(environ=environ).settings
    assert settings.local.path == ("/with:colon",)
    assert settings.storage.file_roots == (FileRoot(path="/a", write=True), FileRoot(path="/b"))


def test_file_roots_are_plain_paths_or_tables(file):
    path = file('[storage]\nfile_roots = ["/a", { path = "/b", callers = ["ada"] }]\n')
    roots = load(environ={}, config=str(path)).settings.storage.file_roots
    assert roots == (FileRoot(path="/a", write=True), FileRoot(path="/b", callers=("ada",)))


def test_a_secret_may_lie_in_a_file_that_a_variable_names(file):
    secret = file("postgresql://tesk:geheim@db/tesk\n", "secret")
    loaded = load(environ={"TESK_DATABASE_FILE": str(secret)})
    assert loaded.settings.database == "postgresql://tesk:geheim@db/tesk"
    assert loaded.origins["database"] == f"TESK_DATABASE_FILE ({secret})"
    assert loaded.files == (secret,)


def test_a_secret_given_twice_or_not_readable_is_an_error(tmp_path):
    (said,) = wrong(environ={"TESK_DATABASE_FILE": "/x", "TESK_DATABASE": "/y"})
    assert "keep one" in said
    (said,) = wrong(environ={"TESK_DATABASE_FILE": str(tmp_path)})
    assert "cannot be read" in said


def test_an_unknown_key_names_file_line_and_the_near_one(file):
    path = file("prot = 1\n\n[server]\nhots = 'x'\n[storrage]\nfile_roots = []\n")
    assert wrong(config=str(path)) == [
        f"{path}:1: there is no setting prot; did you mean server.port?",
        f"{path}:4: there is no setting server.hots; did you mean server.host?",
        f"{path}:5: there is no setting storrage; did you mean storage?",
    ]


def test_an_unknown_variable_suggests_the_near_one():
    (said,) = wrong(environ={"TESK_SERVER_PROT": "1"})
    assert said.startswith("TESK_SERVER_PROT: there is no such setting; did you mean TESK_SERVER_PORT?")


def test_the_clients_variables_are_no_settings_and_no_errors():
    load(environ={"TESK_SERVER": "http://x", "TESK_TOKEN": "t", "HOME": "/x"})


def test_what_kubernetes_sets_for_a_service_called_tesk_is_no_error():
    load(
        environ={
            "TESK_PORT": "tcp://10.0.0.1:80",
            "TESK_SERVICE_HOST": "10.0.0.1",
            "TESK_SERVICE_PORT": "80",
            "TESK_SERVICE_PORT_HTTP": "80",
            "TESK_PORT_80_TCP": "tcp://10.0.0.1:80",
            "TESK_PORT_80_TCP_ADDR": "10.0.0.1",
            "TESK_SERVER_PORT": "tcp://10.0.0.2:80",
            "TESK_SERVER_SERVICE_HOST": "10.0.0.2",
        }
    )


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        (
            {"TESK_SERVER_PORT": "99999"},
            'TESK_SERVER_PORT: server.port = "99999": must be whole number from 0 to 65535',
        ),
        ({"TESK_SERVER_PORT": "http"}, 'TESK_SERVER_PORT: server.port = "http": must be whole number from 0 to 65535'),
        ({"TESK_LIMITS_ATTEMPTS": "0"}, 'TESK_LIMITS_ATTEMPTS: limits.attempts = "0": must be whole number, 1 or more'),
        ({"TESK_SERVER_INSECURE": "maybe"}, 'TESK_SERVER_INSECURE: server.insecure = "maybe": must be true or false'),
        ({"TESK_LOG_FORMAT": "xml"}, 'TESK_LOG_FORMAT: log.format = "xml": must be `json` or `text`'),
        ({"TESK_SHUTDOWN_GRACE": "-1"}, 'TESK_SHUTDOWN_GRACE: shutdown.grace = "-1": must be number, 0 or more'),
        ({"TESK_SHUTDOWN_GRACE": "nan"}, 'TESK_SHUTDOWN_GRACE: shutdown.grace = "nan": must be number, 0 or more'),
    ],
)
def test_a_wrong_value_names_key_value_and_what_would_be_right(environ, said):
    assert wrong(environ=environ) == [said]


def test_wrong_values_in_a_file_are_named_with_their_lines_all_at_once(file):
    path = file(
        "database = 5\n[server]\nport = '80'\n[[auth.users]]\nname = 'a'\npasswort_hash = 'geheim'\n[log]\nlevel = 'loud'\n"
    )
    said = wrong(config=str(path))
    assert said[0] == f"{path}:1: database = 5: must be text"
    assert said[1] == f'{path}:3: server.port = "80": must be whole number from 0 to 65535'
    assert said[2].startswith(f"{path}:4: auth.users[0] has no passwort_hash; did you mean password_hash?")
    assert said[3].startswith(f"{path}:8: log.level")
    assert "geheim" not in "".join(said)


def test_a_cell_of_a_table_that_is_wrong_is_named_and_never_shown(file):
    path = file("[[auth.tokens]]\nname = 'a'\ntoken_hash = 7\n")
    assert wrong(config=str(path)) == [f"{path}:1: auth.tokens[0].token_hash: expected `str`, got `int`"]
    (said,) = wrong(environ={"TESK_AUTH_TOKENS": "geheim"})
    assert "geheim" not in said
    assert "list of tables" in said


def test_a_file_that_is_no_toml_names_the_line(file):
    (said,) = wrong(config=str(file("[server]\nport = \n")))
    assert "line 2" in said


def test_a_file_may_be_json_and_what_is_wrong_in_it_is_named_likewise(file):
    path = file('{"server": {"port": 2}, "storage": {"s3": [{"bucket": "x"}]}}', "config.json")
    loaded = load(environ={}, config=str(path))
    assert (loaded.settings.server.port, loaded.settings.storage.s3[0].bucket) == (2, "x")
    assert loaded.origins["server.port"] == str(path)
    path.write_text('{"server": {"prot": 2}}')
    assert wrong(config=str(path)) == [f"{path}: there is no setting server.prot; did you mean server.port?"]
    path.write_text('{"server": ')
    assert wrong(config=str(path))[0].startswith(f"{path}: not JSON: ")
    path.write_text("[]")
    assert wrong(config=str(path)) == [f"{path}: is no object: write {{}} for no settings"]


def test_a_file_of_json_is_known_by_what_is_in_it_whatever_its_name(file):
    path = file('{"server": {"port": 2}}', "config")
    loaded = load(environ={}, config=str(path))
    assert (loaded.settings.server.port, loaded.origins["server.port"]) == (2, str(path))
    path.write_text('{"server": 1}')
    assert wrong(config=str(path)) == [f'{path}: server is a table: write "server": {{...}}']


def test_a_section_that_is_no_table_is_an_error(file):
    path = file("server = 1\n")
    assert wrong(config=str(path)) == [f"{path}:1: server is a table: write [server]"]


def test_the_reference_says_all_of_every_setting():
    for setting in reference():
        assert setting.description.endswith("."), setting.key
        assert setting.type, setting.key
    (roots,) = (each for each in reference() if each.key == "storage.file_roots")
    assert roots.separator == ":"
    assert [column.key for column in roots.columns] == ["path", "write", "callers", "hidden"]
    (users,) = (each for each in reference() if each.key == "auth.users")
    assert [column.key for column in users.columns if column.secret] == ["password_hash"]


@pytest.mark.parametrize(
    "key",
    [
        "storage.hosts_denied",
        "storage.hosts_allowed",
        "storage.no_proxy",
        "callbacks.allow",
        "callbacks.hosts",
        "listener.servers",
    ],
)
@pytest.mark.parametrize(
    ("entry", "is_good"),
    [
        ("example.org", True), ("*.example.org", True), ("*", True), ("10.0.0.1", True), ("10.0.0.0/8", True), ("::1", True),
        ("fd00::/8", True), ("cwl-wes.wes.svc", True),
        ("nonsense/99", False), ("10.0.0.0/99", False), ("10.0.0.300/8", False), ("fd00::/129", False), ("http://a.org", False),
    ],
)  # fmt: skip
def test_a_network_that_is_none_is_not_taken_for_the_name_of_a_host(key, entry, is_good):
    variables = {f"TESK_{key.replace('.', '_').upper()}": entry}
    if is_good:
        section, _, name = key.partition(".")
        assert getattr(getattr(load(environ=variables).settings, section), name) == (entry,)
        return
    (said,) = wrong(environ=variables)
    assert f'{key}[0] = "{entry}": must be a host\'s name' in said
