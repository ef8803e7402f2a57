"""Where a trial works when its storage has an address: what its trainer does here happens there."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from trials.progress import CheckpointError
from trials.scratch import carried
from trials.storage import StorageError

ROOT = Path(__file__).parents[2]
TRIAL = "trials/a"


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def far(tmp_path):
    """Return an address, and the folder that it is."""
    return f"file://{tmp_path}/far", tmp_path / "far"


def there(folder):
    return {
        path.relative_to(folder / TRIAL).as_posix(): path.read_text()
        for path in (folder / TRIAL).rglob("*")
        if path.is_file()
    }


def working(temporary):
    """Return the folders of attempts on this machine."""
    return list(temporary.glob("ablation-scratch-*/trial-*"))


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name.replace('_', '-')}.pt").write_text(text)


def test_what_a_trainer_writes_and_deletes_here_is_carried_over(far, temporary):
    address, folder = far
    with carried(address, TRIAL, None) as (root, carry):
        here = root / TRIAL
        (here / "pictures").mkdir(parents=True)
        write(here, checkpoint_1="one")
        (here / "checkpoint-2.pt.part").write_text("not whole")
        carry()
        assert there(folder) == {"checkpoint-1.pt": "one"}
        write(here, checkpoint_2="two", generator="g")
        (here / "pictures" / "cat.png").write_text("cat")
        carry()
        (here / "checkpoint-1.pt").unlink()
        carry()
        assert there(folder) == {"checkpoint-2.pt": "two", "generator.pt": "g", "pictures/cat.png": "cat"}
        seen = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        carry()  # nothing is new
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == seen
        assert len(working(temporary)) == 1
    assert working(temporary) == []


def test_an_attempt_goes_on_from_the_checkpoint_named_and_deletes_what_its_trainer_deletes(far):
    address, folder = far
    (folder / TRIAL).mkdir(parents=True)
    write(folder / TRIAL, checkpoint_1="one", checkpoint_2="two", checkpoint_3="never reported")
    (folder / TRIAL / "checkpoint-3.pt.ab12.part").write_text("cut off")
    with carried(address, TRIAL, f"{TRIAL}/checkpoint-2.pt") as (root, carry):
        here = root / TRIAL
        assert (here / "checkpoint-2.pt").read_text() == "two"
        write(here, checkpoint_3="three")
        carry()
        assert there(folder) == {"checkpoint-1.pt": "one", "checkpoint-2.pt": "two", "checkpoint-3.pt": "three"}
        (here / "checkpoint-1.pt").unlink()
        carry()
    assert there(folder) == {"checkpoint-2.pt": "two", "checkpoint-3.pt": "three"}


def test_a_checkpoint_that_is_not_there_is_the_trainers_kind_of_error(far):
    said = r"checkpoint file://.*/far/trials/a/checkpoint-2.pt does not exist"
    with pytest.raises(CheckpointError, match=said), carried(far[0], TRIAL, f"{TRIAL}/checkpoint-2.pt"):
        pass


def test_decoded_images_stay_for_the_next_and_do_not_travel(far):
    address, folder = far
    for seen in (False, True):
        with carried(address, TRIAL, None) as (root, carry):
            images = (root / TRIAL).parent / "decoded"
            assert (images / "cat.npy").exists() is seen
            (images / "cat.npy").touch()
            carry()
    assert not list(folder.rglob("*.npy"))


def test_what_a_killed_process_left_is_deleted_at_the_next_start_and_nobody_elses(far, temporary):
    code = (
        "import sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
        "from trials.scratch import carried\n"
        "with carried(sys.argv[2], 'trials/b', None) as (root, carry): print(root, flush=True); sys.stdin.read()"
    )
    asked = [sys.executable, "-c", code, str(temporary), far[0]]
    other = subprocess.Popen(asked, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    left = Path(other.stdout.readline().strip())
    with carried(far[0], TRIAL, None):
        assert left.is_dir()
    other.kill()
    other.communicate()
    assert left.is_dir()
    with carried(far[0], TRIAL, None):
        assert not left.exists()


def test_a_folder_of_somebody_elses_is_refused(far, temporary, tmp_path):
    with carried(far[0], TRIAL, None) as (root, _):
        base = root.parent
    moved = base.rename(tmp_path / "elsewhere")
    base.symlink_to(moved)
    with pytest.raises(StorageError, match="expected a folder of this user's"), carried(far[0], TRIAL, None):
        pass
