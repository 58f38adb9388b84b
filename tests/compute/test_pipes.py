"""Which inputs may be named pipes, as a table."""

import pytest

from fakes.attempts import plan, shell
from tesk.compute.pipes import pipes_of
from tesk.tes.task import FileType, Input, Output


def one(path: str = "/in/f", **more) -> Input:
    return Input(**({"path": path, "url": "https://example.org/f", "streamable": True} | more))


@pytest.mark.parametrize(
    ("inputs", "outputs", "stdin", "pipes"),
    [
        ([one()], [], None, (0,)),
        ([one(streamable=None)], [], None, ()),
        ([one(type=FileType.DIRECTORY)], [], None, ()),
        ([one(content="x")], [], None, ()),
        ([one(), one("/in/g")], [], "/in/g", (0,)),
        ([one("/etc/f")], [], None, ()),
        ([one("/f")], [], None, ()),
        ([one()], [("/in", None)], None, ()),
        ([one()], [("/in/f", None)], None, ()),
        ([one()], [("/in/*", "/in")], None, ()),
        ([one("/in/deep/f")], [("/in/*/f", "/in")], None, ()),
        ([one()], [("/input", None)], None, (0,)),
        ([one()], [("/out/*", "/out"), (r"/o/\*", None)], None, (0,)),
    ],
)
def test_an_input_is_a_pipe_only_where_programs_alone_read_it(inputs, outputs, stdin, pipes) -> None:
    made = plan(
        shell("true", stdin=stdin),
        inputs=tuple(inputs),
        outputs=tuple(Output(path=path, path_prefix=prefix, url="file:///x") for path, prefix in outputs),
    )
    assert pipes_of(made) == pipes
