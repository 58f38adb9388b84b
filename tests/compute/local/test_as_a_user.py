"""The same promises for a server that root did not start."""

from fakes.other_user import run_again


def test_a_server_of_a_user_without_rights_keeps_the_same_promises() -> None:
    run_again(
        "tests/contracts/test_backend.py",
        "tests/contracts/test_backend_paths.py",
        "tests/compute/local/test_hostile.py",
        "tests/compute/local/test_limits.py",
        "tests/compute/local/test_takeover.py",
        "tests/stories/test_streams.py",
        *("-k", "not containers"),
    )
