"""A position names the next byte, whatever became of the stream meanwhile."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesk.api.position import Position
from tesk.compute.backend import Piece


def take(position, *pieces):
    """Give pieces; return what is new."""
    return [fresh for piece in pieces for fresh in position.fresh(piece)] + list(position.rest())


def came_again(position, stream="combined"):
    """Return the position as a follower sends it back, of the same attempt and executor."""
    again = Position.read(str(position), stream)
    assert again is not None
    again.at(position.attempt, position.executor)
    return again


@given(st.binary(max_size=3000), st.integers(0, 3000), st.integers(1, 700), st.sampled_from(["stdout", "combined"]))
def test_each_byte_is_new_once_wherever_it_was_cut(data, cut, size, stream) -> None:
    position = Position(1, 0)
    pieces = [Piece(stream, at, data[at : at + size]) for at in range(0, len(data), size)]
    before = b"".join(fresh.data for fresh in take(position, Piece(stream, 0, data[:cut])))
    behind = take(came_again(position), *pieces, Piece(stream, len(data), b""))
    assert before + b"".join(fresh.data for fresh in behind) == data
    assert not any(fresh.note or fresh.missed_bytes for fresh in behind)


def test_what_is_no_longer_kept_is_counted() -> None:
    position = Position(1, 0)
    take(position, Piece("stdout", 0, b"one\n"))
    (fresh,) = take(came_again(position, "stdout"), Piece("stdout", 10, b"three\n"))
    assert (fresh.data, fresh.missed_bytes) == (b"three\n", 6)


def test_a_log_that_begins_elsewhere_is_given_whole_and_said_to_be_another() -> None:
    position = Position(1, 0)
    take(position, Piece("combined", 0, b"one\ntwo\n"))
    (fresh,) = take(came_again(position), Piece("combined", 0, b"one\nfour\n"))
    assert (fresh.data, bool(fresh.note)) == (b"one\nfour\n", True)
    (short,) = take(came_again(position), Piece("combined", 0, b"one"), Piece("combined", 3, b""))
    assert (short.data, bool(short.note)) == (b"one", True)


@pytest.mark.parametrize(
    ("pieces", "new"),
    [
        ((Piece("stdout", 0, b"one\n"), Piece("stdout", 4, b""), Piece("stderr", 0, b"")), b""),
        ((Piece("stdout", 0, b"one\ntwo\n"), Piece("stdout", 8, b""), Piece("stderr", 0, b"")), b"two\n"),
        ((Piece("stdout", 0, b""), Piece("stderr", 2, b"e\ntwo\n"), Piece("stderr", 8, b"")), b"two\n"),
    ],
)
def test_streams_that_were_one_go_on_where_only_one_was_written(pieces, new) -> None:
    position = Position(1, 0)
    take(position, Piece("combined", 0, b"one\n"))
    assert b"".join(fresh.data for fresh in take(came_again(position), *pieces)) == new


def test_which_stream_the_rest_belongs_to_is_not_guessed() -> None:
    position = Position(1, 0)
    take(position, Piece("combined", 0, b"one\n"))
    apart = (
        Piece("stdout", 0, b"one\n"),
        Piece("stdout", 4, b""),
        Piece("stderr", 0, b"bad\n"),
        Piece("stderr", 4, b""),
    )
    (fresh,) = take(came_again(position), *apart)
    assert (fresh.data, "each by itself" in fresh.note) == (b"", True)


def test_another_attempt_begins_at_its_first_byte() -> None:
    position = Position(1, 0)
    take(position, Piece("stdout", 0, b"one\n"))
    again = came_again(position, "stdout")
    again.at(2, 0)
    assert [fresh.data for fresh in take(again, Piece("stdout", 0, b"one\n"))] == [b"one\n"]


@pytest.mark.parametrize("text", ["", "1", "1.", "a.0", "1.0.o", "1.0.x5", "1.0.o5.", "1" * 20 + ".0"])
def test_what_is_no_position_is_none(text) -> None:
    assert Position.read(text, "combined") is None
