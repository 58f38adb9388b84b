"""Fields that TES does not know are told, with what they were meant to be."""

import pytest

from tesk.tes.unknown import unknown_fields


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"executors": [{"image": "a", "comand": ["b"]}]}, ["executors[0].comand: (did you mean command?)"]),
        ({"executors": [{}, {"imgae": "a"}]}, ["executors[1].imgae: (did you mean image?)"]),
        (
            {"resources": {"cpus": 1, "ramGb": 2}},
            ["resources.cpus: (did you mean cpu_cores?)", "resources.ramGb: ram_gb?"],
        ),
        ({"Name": "x", "input": []}, ["Name: (did you mean name?)", "input: (did you mean inputs?)"]),
        ({"image": "a"}, ["image: at this place (it is one of executors)"]),
        ({"executors": [{"tags": {}}]}, ["executors[0].tags: at this place (it is one of the task itself)"]),
        ({"inputs": [{"zzz": 1}]}, ["inputs[0].zzz: "]),
    ],
)
def test_what_nobody_would_hear_of_is_told(document, said):
    problems = unknown_fields(document)
    assert [problem.path for problem in problems] == [each.partition(": ")[0] for each in said]
    for problem, each in zip(problems, said, strict=True):
        assert problem.detail.startswith("no field of TES")
        assert each.partition(": ")[2] in problem.detail


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"id": "x", "state": "COMPLETE", "logs": [{"whatever": 1}], "creation_time": "now", "tags": {"any": "thing"}},
        {"executors": [{"env": {"ANY": "x"}}], "resources": {"backend_parameters": {"any": "x"}}, "volumes": ["/x"]},
        {"executors": 1, "inputs": [2], "resources": None, "outputs": {"path": "/x"}},
    ],
)
def test_what_tes_knows_and_what_is_wrong_in_another_way_is_not(document):
    assert unknown_fields(document) == ()
