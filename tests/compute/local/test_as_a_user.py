"""The same promises for a server that root did not start."""

from pathlib import Path

from fakes.other_user import AGAIN, run_again


def test_a_server_of_a_user_without_rights_keeps_the_same_promises(tmp_path_factory) -> None:
    folder = Path(f"/var/tmp/{tmp_path_factory.mktemp('x').parent.name}-{AGAIN.lower()}")
    run_again(
        [
            "tests/contracts/test_backend.py",
            "tests/compute/local",
            "--deselect",
            str(Path(__file__).relative_to(Path.cwd())),
        ],
        folder,
    )
