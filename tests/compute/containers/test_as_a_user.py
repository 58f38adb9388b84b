"""The same promises for a server that root did not start, and containers of its user."""

from fakes.other_user import run_again


def test_rootless_containers_keep_the_same_promises() -> None:
    here = "tests/compute/containers/test_"
    run_again(
        "tests/contracts/test_backend.py",
        f"{here}containers.py::test_what_any_user_writes_with_any_mask_is_taken_and_deleted",
        f"{here}containers.py::test_variables_of_any_kind_arrive_and_stand_in_no_command_line",
        f"{here}containers.py::test_without_a_network_there_is_none",
        f"{here}adoption.py",
        f"{here}inputs.py",
        *("-k", "containers"),
    )
