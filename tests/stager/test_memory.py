"""What the program takes, whatever it moves."""

from pathlib import Path

from fakes.large import bring_in


def test_two_gigabytes_move_in_less_memory_than_a_hundred_megabytes(tmp_path: Path) -> None:
    small, large = (bring_in(tmp_path / name, size) for name, size in (("small", 10**6), ("large", 2 * 10**9)))
    assert large < 100 * 10**6
    assert large - small < 20 * 10**6
