"""A program that tampers with its own control folder harms its own result, and no file outside of it."""

import pytest

PLANT = """
cd $1
for name in lock here turn begun stdout.0 stdout.1 stderr.0 stderr.1 status.json .status.json; do
    rm -f $name; {}
done
seq 1 50000; exit 3
"""


@pytest.mark.parametrize(
    "plant", ["ln -s $2 $name", "ln $2 $name", "ln -s $3/$name $name"], ids=["link", "hard", "dangling"]
)
def test_a_shim_is_led_to_no_other_file(make, tmp_path, plant):
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / "empty").mkdir()
    control = tmp_path / "executor/control"
    one = make(
        "sh", "-c", PLANT.format(plant), "sh", str(control), str(victim), str(tmp_path / "empty"), tail_bytes=1000
    )
    assert one.run().exit_code == 3, "a rename replaces what was planted"
    assert victim.read_text() == "untouched"
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize(
    "plant", ["mkdir -p $name/x/y", "mkfifo $name", "touch $name; chmod 0 $name"], ids=["folder", "fifo", "closed"]
)
def test_a_status_is_written_whatever_lies_in_its_place(make_one, tmp_path, plant):
    one = make_one("sh", "-c", PLANT.format(plant), "sh", str(tmp_path / "executor/control"), tail_bytes=1000)
    assert one.run().exit_code == 3


def test_a_shim_without_its_folder_ends_as_its_program(make_one, tmp_path):
    one = make_one("sh", "-c", "rm -r $1; exit 3", "sh", str(tmp_path / "executor/control"))
    process = one.start()
    one.wait_for("here")
    one.turn("run")
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 3
    assert b"the status cannot be written" in errors
