"""What of a task is taken in, and what is said of the rest."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesk.errors import BadRequest
from tesk.tes.validation import accept

RUN = {"image": "debian", "command": ["true"]}


def take(task, *, limit=1 << 20):
    raw = task if isinstance(task, bytes) else json.dumps(task).encode()
    return accept(raw, parameters=frozenset({"time_limit_seconds"}), content_limit_bytes=limit)


def stored(task):
    return json.loads(take(task).body)


def problems(task, **more):
    with pytest.raises(BadRequest) as refused:
        take(task, **more)
    return {problem.path: problem.detail for problem in refused.value.problems}


def task(**more):
    return {"executors": [RUN], **more}


def test_the_least_task_is_stored_with_its_lists():
    assert stored(task()) == {"inputs": [], "outputs": [], "executors": [RUN], "volumes": [], "tags": {}}


def test_null_means_not_given_everywhere():
    plain = stored(task(tags={"a": "b"}, resources={"ram_gb": 2}, inputs=[{"path": "/x", "url": "/y"}]))
    nulls = {
        "name": None,
        "description": None,
        "outputs": None,
        "volumes": None,
        "tags": {"a": "b", "c": None},
        "resources": {"ram_gb": 2, "cpu_cores": None, "zones": None, "backend_parameters": None},
        "inputs": [{"path": "/x", "url": "/y", "content": None, "type": None, "name": None, "streamable": None}],
        "executors": [{**RUN, "env": None, "workdir": None, "stdin": None, "stdout": None, "ignore_error": None}],
    }
    assert stored(nulls) == plain
    assert stored(task(executors=[{**RUN, "env": {"A": "1", "B": None}}]))["executors"][0]["env"] == {"A": "1"}


def test_unknown_and_read_only_fields_are_ignored_and_never_stored():
    odd = task(id="x", state="COMPLETE", logs=[{"logs": 5}], creation_time=7, callback_url="http://x", more={"a": [1]})
    odd["executors"] = [{**RUN, "image_digest": 3}]
    assert stored(odd) == stored(task())


@pytest.mark.parametrize("nothing", [{}, {"executors": None}, {"executors": []}])
def test_a_task_has_at_least_one_executor(nothing):
    assert problems(nothing) == {"executors": "must hold at least one executor"}


@pytest.mark.parametrize(
    ("executor", "path"),
    [
        ({"command": ["x"]}, "executors[0].image"),
        ({"image": "", "command": ["x"]}, "executors[0].image"),
        ({"image": None, "command": ["x"]}, "executors[0].image"),
        ({"image": "x"}, "executors[0].command"),
        ({"image": "x", "command": []}, "executors[0].command"),
        ({"image": "x", "command": [""]}, "executors[0].command[0]"),
        ({"image": "x", "command": ["a", None]}, "executors[0].command[1]"),
        ({"image": "x", "command": "echo"}, "executors[0].command"),
        ({**RUN, "env": {"": "x"}}, 'executors[0].env[""]'),
        ({**RUN, "env": {"A=B": "x"}}, 'executors[0].env["A=B"]'),
        ({**RUN, "env": {"A": 5}}, "executors[0].env.A"),
        ({**RUN, "ignore_error": "true"}, "executors[0].ignore_error"),
        ("x", "executors[0]"),
        (None, "executors[0]"),
    ],
)
def test_image_and_command_are_not_empty_and_the_rest_of_an_executor_is_as_it_should(executor, path):
    assert list(problems({"executors": [executor]})) == [path]


@pytest.mark.parametrize("bad", ["data/x", "./x", "~/x", "/data/../etc", "/..", "/a/..", "file:///x"])
def test_paths_are_absolute_and_never_go_up(bad):
    found = problems(
        {
            "inputs": [{"path": bad, "url": "/x"}],
            "outputs": [{"path": bad, "url": "/x"}],
            "volumes": [bad],
            "executors": [{**RUN, "stdin": bad, "stdout": bad, "stderr": bad, "workdir": bad}],
        }
    )
    streams = ("workdir", "stdin", "stdout", "stderr")
    expected = ["inputs[0].path", "outputs[0].path", *(f"executors[0].{name}" for name in streams), "volumes[0]"]
    assert list(found) == expected


def test_dots_that_are_part_of_a_name_are_fine():
    assert stored(task(volumes=["/..a/b..", "/a/.../b"]))["volumes"] == ["/..a/b..", "/a/.../b"]


def test_an_empty_place_of_an_executor_is_not_given():
    executor = {**RUN, "stdin": "", "stdout": "", "stderr": "", "workdir": ""}
    assert stored({"executors": [executor]})["executors"] == [RUN]


def test_an_input_has_a_url_or_content_and_an_output_a_url():
    found = problems(task(inputs=[{"path": "/x"}, {"url": "/y"}], outputs=[{"path": "/x"}, {"path": "/x", "url": ""}]))
    assert list(found) == ["inputs[0]", "inputs[1].path", "outputs[0].url", "outputs[1].url"]


def test_empty_content_without_a_url_is_an_empty_file_and_beside_one_is_nothing():
    inputs = stored(task(inputs=[{"path": "/a", "content": ""}, {"path": "/b", "content": "", "url": "/x"}]))["inputs"]
    assert inputs == [{"path": "/a", "type": "FILE", "content": ""}, {"path": "/b", "type": "FILE", "url": "/x"}]


def test_content_is_no_directory():
    assert list(problems(task(inputs=[{"path": "/a", "content": "x", "type": "DIRECTORY"}]))) == ["inputs[0].type"]


def test_a_type_that_is_left_out_is_filled_in_and_remembered():
    taken = take(
        task(
            inputs=[{"path": "/a", "url": "/x"}, {"path": "/b", "url": "/x", "type": "DIRECTORY"}],
            outputs=[{"path": "/a", "url": "/x", "type": "FILE"}, {"path": "/b", "url": "/x"}],
        )
    )
    body = json.loads(taken.body)
    assert [each["type"] for each in body["inputs"] + body["outputs"]] == ["FILE", "DIRECTORY", "FILE", "FILE"]
    assert (taken.extension.untyped_inputs, taken.extension.untyped_outputs) == ((0,), (1,))
    assert list(problems(task(inputs=[{"path": "/a", "url": "/x", "type": "file"}]))) == ["inputs[0].type"]


def test_fractions_of_a_core_are_kept_apart_and_rounded_up_in_the_body():
    taken = take(task(resources={"cpu_cores": 1.5, "ram_gb": 0.5, "disk_gb": 2.0}))
    assert taken.extension.cpu_cores == 1.5
    assert b'"cpu_cores":2,' in taken.body
    assert b'"disk_gb":2}' in taken.body
    whole = take(task(resources={"cpu_cores": 4.0}))
    assert whole.extension.cpu_cores is None
    assert b'"cpu_cores":4}' in whole.body


@pytest.mark.parametrize("number", [-1, 2**31, "4", True, [], 1e300])
def test_resources_are_numbers_that_make_sense(number):
    assert list(problems(task(resources={"cpu_cores": number}))) == ["resources.cpu_cores"]


def test_megabytes_of_content_are_taken_and_the_limit_is_said():
    body = stored(task(inputs=[{"path": "/a", "content": "x" * (1 << 20)}]))
    assert len(body["inputs"][0]["content"]) == 1 << 20
    found = problems(task(inputs=[{"path": "/a", "content": "é" * 3}, {"path": "/b", "content": "x" * 5}]), limit=10)
    assert found == {"inputs[1].content": "brings the `content` of this task above 10 bytes: use a `url`"}


def test_unsupported_backend_parameters_are_dropped_with_a_warning():
    parameters = {"VmSize": "big", "Time_Limit_Seconds": "60"}
    taken = take(task(resources={"backend_parameters": parameters}))
    assert json.loads(taken.body)["resources"]["backend_parameters"] == {"Time_Limit_Seconds": "60"}
    assert taken.extension.warnings == (
        'The backend parameter "VmSize" was left out; supported here: time_limit_seconds',
    )


def test_with_strict_an_unsupported_backend_parameter_is_refused():
    resources = {"backend_parameters": {"VmSize": "big"}, "backend_parameters_strict": True}
    assert list(problems(task(resources=resources))) == ["resources.backend_parameters.VmSize"]


@pytest.mark.parametrize("seconds", ["soon", "0", "-5", "nan", "inf", ""])
def test_a_time_limit_is_a_number_of_seconds(seconds):
    resources = {"backend_parameters": {"time_limit_seconds": seconds}}
    assert list(problems(task(resources=resources))) == ["resources.backend_parameters.time_limit_seconds"]


def test_wildcards_need_a_prefix():
    assert list(problems(task(outputs=[{"path": "/a/*.txt", "url": "/x"}]))) == ["outputs[0].path_prefix"]
    assert list(problems(task(outputs=[{"path": "/a/[b]", "url": "/x", "path_prefix": ""}]))) == [
        "outputs[0].path_prefix"
    ]
    assert stored(task(outputs=[{"path": "/a/\\*.txt", "url": "/x"}]))["outputs"][0]["path"] == "/a/\\*.txt"
    assert stored(task(outputs=[{"path": "/a", "url": "/x", "path_prefix": "/q"}]))["outputs"][0]["path_prefix"] == "/q"


@pytest.mark.parametrize("url", ["nowhere://x", "s3://b/k", "http://[broken", "x y", "../x"])
def test_an_unreachable_or_unsupported_url_is_no_reason_to_refuse(url):
    assert stored(task(inputs=[{"path": "/a", "url": url}]))["inputs"][0]["url"] == url


def test_all_problems_are_said_at_once_with_their_places():
    found = problems(
        {
            "name": 5,
            "inputs": [{"path": "x", "url": 7}],
            "executors": [RUN, {"image": "", "command": []}],
            "volumes": ["/ok", "bad"],
            "tags": {"a": 1},
            "resources": {"ram_gb": "much"},
        }
    )
    assert set(found) == {
        "name",
        "inputs[0].path",
        "inputs[0].url",
        "executors[1].image",
        "executors[1].command",
        "volumes[1]",
        "tags.a",
        "resources.ram_gb",
    }


def test_of_thousands_of_problems_the_first_are_listed_and_all_are_counted():
    with pytest.raises(BadRequest, match="5000 problems with this task, of which the first 100 are listed") as refused:
        take(task(volumes=["x"] * 5000))
    assert len(refused.value.problems) == 100


def test_nobody_reads_on_after_ten_thousand_problems():
    body = {**task(), "inputs": [{}] * 1_000_000}
    with pytest.raises(BadRequest, match="more than 10000 problems with this task") as refused:
        take(body)
    assert len(refused.value.problems) == 100


def test_keys_that_are_given_twice_among_very_many_are_found_at_once():
    tags = ",".join(f'"{n}": ""' for n in [*range(100_000), 7])
    raw = f'{{"executors": [{json.dumps(RUN)}], "tags": {{{tags}}}}}'.encode()
    began = time.process_time()
    with pytest.raises(BadRequest, match=r"tags\.7 is given more than once"):
        accept(raw, parameters=frozenset(), content_limit_bytes=1000)
    assert time.process_time() - began < 5, "in the square of their number it is minutes"


@pytest.mark.parametrize("letter", ["a", "/", "é"])
def test_a_path_that_no_program_can_be_given_is_refused(letter):
    size = 4094 // len(letter.encode())
    take(task(volumes=["/" + letter * size]))
    assert "must not be longer than 4095 bytes" in problems(task(volumes=["/" + letter * (size + 2)]))["volumes[0]"]


def test_what_was_given_is_shown_but_no_secret_of_a_url_and_no_value_of_a_variable():
    found = problems(
        task(
            volumes=["https://ada:hush@example.org/x?signature=hush"],
            executors=[{**RUN, "env": {"TOKEN": 123456}}],
        )
    )
    assert found["volumes[0]"] == 'must be an absolute path, not "https://example.org/x?..."'
    assert found["executors[0].env.TOKEN"] == "must be a string, not a number"


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "expecting value, line 1 column 1"),
        (b"{", "line 1 column 2"),
        (b'{"executors": [}', "line 1 column 16"),
        (b"[]", "must be an object, not a list"),
        (b'"x"', "must be an object"),
        (b"null", "must be an object, not null"),
        (b'{"a": NaN}', "NaN is no number of JSON"),
        (b'{"a": Infinity}', "Infinity is no number of JSON"),
        (b"\xff\xfe{", "is no UTF-8"),
        (b'{"name": "\xff"}', "is no UTF-8"),
        (b'{"name": "a\x00b"}', "invalid control character"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"x":' * 100_000, "nested too deeply"),
        (b'{"a": 1} x', "extra data"),
        (b'{"executors": [{"image": "x", "command": ["x"]}], "name": "\\ud800"}', "half of a character"),
        (b'{"executors": [{"image": "x", "command": ["\\udfff"]}]}', "half of a character"),
        (b'{"executors": [{"image": "x", "command": ["a\\u0000b"]}]}', "NUL"),
        (b'{"executors": [{"image": "x", "command": ["x"], "env": {"A\\u0000": "x"}}]}', "NUL"),
        (b'{"executors": [{"image": "x", "command": ["x"], "env": {"A": "\\u0000"}}]}', "NUL"),
        (b'{"executors": [{"image": "x", "command": ["x"]}], "volumes": ["/\\u0000"]}', "NUL"),
        (b'{"executors": [{"image": "x", "command": ["x"]}], "name": "a", "name": "b"}', "more than once"),
        (b'{"executors": [{"image": "x", "command": ["x"], "image": "y"}]}', "more than once"),
        (b'{"executors": [{"image": "x", "command": ["x"]}], "tags": {"a": "b", "a": "c"}}', "more than once"),
        (b'{"executors": [{"image": "x", "command": ["x"]}], "resources": {"ram_gb": 1e999}}', "from 0 to"),
        (
            b'{"executors": [{"image": "x", "command": ["x"]}], "resources": {"cpu_cores": ' + b"9" * 9999 + b"}}",
            "0 to",
        ),
    ],
)
def test_odd_json_is_refused_with_a_sentence(raw, says):
    with pytest.raises(BadRequest) as refused:
        take(raw)
    assert says in f"{refused.value.detail} {refused.value.problems}"


def test_what_is_odd_where_nobody_reads_it_does_no_harm():
    raw = b'{"executors": [{"image": "x", "command": ["x"]}], "more": {"n": 1e999, "m": ' + b"9" * 9999 + b"}}"
    assert json.loads(take(raw).body)["executors"] == [{"image": "x", "command": ["x"]}]


def test_content_may_hold_any_character():
    assert stored(task(inputs=[{"path": "/a", "content": "a\0b"}]))["inputs"][0]["content"] == "a\0b"


def test_a_command_reaches_the_task_unchanged():
    command = ["sh", "-c", "echo $HOME $(X) $$ \\u0000 \"'"]
    assert stored({"executors": [{"image": "x", "command": command}]})["executors"][0]["command"] == command


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
FIELDS = ("name", "inputs", "outputs", "resources", "executors", "volumes", "tags", "path", "url", "image", "command")


@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6) | JSON)
def test_whatever_comes_is_taken_or_refused_and_what_is_taken_stays_as_it_is(odd):
    try:
        taken = take(json.dumps(odd).encode("utf-8", "surrogatepass"))
    except BadRequest:
        return
    assert take(taken.body).body == taken.body


@given(st.binary(max_size=64))
def test_whatever_bytes_come_are_refused(raw):
    with pytest.raises(BadRequest):
        take(raw)


def test_a_small_task_takes_well_under_a_tenth_of_a_millisecond():
    small = json.dumps(task(name="n", inputs=[{"path": "/a", "url": "/x"}], tags={"a": "b"})).encode()

    def best():
        began = time.perf_counter()
        for _ in range(100):
            take(small)
        return (time.perf_counter() - began) / 100

    assert min(best() for _ in range(30)) < 100e-6
