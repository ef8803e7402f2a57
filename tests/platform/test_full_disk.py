"""A disk that fills, takes nothing, or has no inode left, while a study runs: a sentence, and nothing is lost."""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.platform.chaos import differences
from tests.platform.test_sweep import ROOT, command, lay_out, reports, sweep, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def disk(tmp_path):
    """Return what puts a small file system in the place of a folder, until the test ends."""
    mounted = []

    def mount(folder, options):
        folder.mkdir(parents=True)
        if sys.platform != "linux" or os.getuid() != 0:
            pytest.skip("mounting a small file system needs Linux and root")
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
        if done.returncode != 0:
            pytest.skip(f"this machine does not let us mount: {done.stderr.decode().strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def filling(folder):
    """Take every byte of a file system until the block ends, those too that are freed meanwhile."""
    over = threading.Event()

    def fill():
        with (folder / "filler").open("ab", buffering=0) as file:
            size = 1 << 20
            while not over.is_set():
                try:
                    file.write(bytes(size))
                except OSError:
                    size = max(1, size // 2)
                    over.wait(0.01 if size == 1 else 0)

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        (folder / "filler").unlink()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = lay_out(tmp_path_factory.mktemp("undisturbed"))
    assert sweep(folder).returncode == 0
    return folder / "results" / "tiny"


@pytest.mark.parametrize(
    ("small", "options", "named"),
    [
        pytest.param("results", [], "results/tiny", id="both in one"),
        pytest.param("shared", ["--storage", "shared"], "shared/tiny", id="storage alone"),
        pytest.param("results", ["--storage", "shared"], "results/tiny", id="results alone"),
    ],
)
def test_a_disk_that_fills_is_a_sentence_and_the_same_command_goes_on(
    disk, tmp_path, undisturbed, small, options, named
):
    folder = lay_out(tmp_path / "study")
    where = disk(folder / small, "size=96m")
    options = [str(folder / one) if not one.startswith("--") else one for one in options]
    process = subprocess.Popen(
        command(folder, *options), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    wait_for(lambda: reports(folder) >= 3 or process.poll() is not None, seconds=400)
    with filling(where):
        said = process.communicate(timeout=400)[0]
    assert process.returncode == 1, said
    assert f"the storage {folder / named} is full (" in said
    assert said.count("make room, then the same command goes on") == 1
    assert "Traceback" not in said
    assert "FAILED" not in said
    again = sweep(folder, *options)
    assert again.returncode == 0, again.stdout + again.stderr
    study = folder / "results" / "tiny"
    if "--storage" in options:  # what lies there is compared in its usual place
        shutil.copytree(folder / "shared" / "tiny", study, dirs_exist_ok=True)
    assert differences(study, undisturbed) == []


@pytest.mark.parametrize("small", ["results", "shared"])
@pytest.mark.parametrize(
    ("options", "said"), [("ro", "Read-only file system"), ("nr_inodes=2", "No space left on device")]
)
def test_a_disk_that_takes_nothing_is_a_sentence(disk, tmp_path, small, options, said):
    folder = lay_out(tmp_path / "study")
    disk(folder / small, options)
    found = sweep(folder, "--storage", str(folder / "shared"))
    assert found.returncode == 1, found.stdout + found.stderr
    (line,) = [line for line in found.stdout.splitlines() if "then the same command goes on" in line]
    assert str(folder / small) in line
    assert said in line or "database" in line
    assert "Traceback" not in found.stdout + found.stderr


def test_results_that_are_a_file_are_a_sentence(tmp_path):
    folder = lay_out(tmp_path / "study")
    Path(folder / "results").write_text("")
    found = sweep(folder)
    assert (found.returncode, found.stderr) == (1, "")
    assert f"{folder / 'results'}" in found.stdout
    assert "cannot be written to" in found.stdout
