"""A stager that dies in the middle leaves nothing half, and the next one does it all."""

from pathlib import Path

import pytest

from fakes.interrupted import kill_at_random_moments


@pytest.mark.parametrize("direction", ["inputs", "outputs"])
def test_ten_kills_at_random_moments_leave_nothing_half_and_the_next_run_is_whole(
    tmp_path: Path, direction: str
) -> None:
    kill_at_random_moments(tmp_path, direction, kills=10, seed=4)
