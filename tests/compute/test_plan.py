"""What a plan says of a task, beside the table of shared paths in the contract of backends."""

from fakes.attempts import plan, shell
from tesk.compute.plan import TAILS_BYTES


def test_thousands_of_executors_share_the_room_for_their_logs() -> None:
    assert plan(shell("true"), shell("true"), tail_bytes=65536).tail_bytes == 65536
    many = plan(*(shell("true") for _ in range(10_000)), tail_bytes=65536)
    assert 0 < many.tail_bytes * 2 * len(many.steps) <= TAILS_BYTES
