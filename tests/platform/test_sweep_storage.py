"""The command with `--storage s3://...`, a real server on loopback: killed, called again, then looked at."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from types import SimpleNamespace

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

import analysis
from tests.far_storages import BUCKET, s3_server
from tests.platform.test_sweep import ROOT, command, lay_out, reports, sweep, wait_for
from trials.storage import Storage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KEEP = ("--set", "keep.checkpoints=1")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = lay_out(tmp_path_factory.mktemp("local"))
    done = sweep(folder, *KEEP)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "results" / "tiny"


@pytest.fixture(scope="module")
def far(tmp_path_factory):
    """A study whose files went to an S3 server, and whose driver was killed in mid-training."""
    folder = lay_out(tmp_path_factory.mktemp("far"))
    with s3_server() as environment, pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        asked = [*command(folder, *KEEP), "--storage", f"s3://{BUCKET}/ablations"]
        first = subprocess.Popen(asked, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
        wait_for(lambda: reports(folder) >= 4)
        os.kill(first.pid, signal.SIGKILL)
        first.communicate(timeout=60)
        assert reports(folder) < 18
        again = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, timeout=280)
        assert again.returncode == 0, again.stdout + again.stderr
        study = folder / "results" / "tiny"
        yield SimpleNamespace(folder=folder, study=study, asked=asked, storage=Storage(f"s3://{BUCKET}/ablations/tiny"))


def pictures(study):
    return re.findall(r"data:image/jpeg;base64,[^\"]+", (study / "report" / "index.html").read_text())


def test_tables_and_pictures_equal_those_of_a_study_in_a_folder(far, undisturbed):
    with sqlite3.connect(far.study / "ledger.db") as db:
        assert json.loads(db.execute("SELECT value FROM study WHERE key = 'storage'").fetchone()[0]) == (
            f"s3://{BUCKET}/ablations/tiny"
        )
        resumed = db.execute("SELECT max(resumed_step) FROM attempt").fetchone()[0]
        assert resumed in (2, 4, 6)  # from a checkpoint that lay in the storage alone
    assert not list(far.study.rglob("checkpoint-*.pt"))
    pd.testing.assert_frame_equal(analysis.load_images(far.study), analysis.load_images(undisturbed))
    assert len(pictures(undisturbed)) >= 4
    assert pictures(far.study) == pictures(undisturbed)
    for one in undisturbed.glob("trials/*/generator.*"):
        assert (far.study / one.relative_to(undisturbed)).read_bytes() == one.read_bytes()


def test_checkpoints_stay_of_the_same_trials_as_in_a_folder(far, undisturbed):
    there = {name for name in far.storage.names("trials") if "checkpoint-" in name}
    assert there == {str(path.relative_to(undisturbed)) for path in undisturbed.rglob("checkpoint-*.pt")}
    assert len(there) == 2  # one for each variant


def test_what_was_deleted_here_comes_back_with_the_same_command(far):
    page = (far.study / "report" / "index.html").read_bytes()
    shutil.rmtree(next((far.study / "trials").glob("*/pictures")))
    again = subprocess.run(far.asked, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0
    assert "nothing to do, all 6 trials have a result" in again.stdout
    assert len(list((far.study / "trials").glob("*/pictures/crops/chelsea.png"))) == 6
    assert (far.study / "report" / "index.html").read_bytes() == page


def test_the_mirror_has_weights_and_pictures_and_the_status_says_where_checkpoints_are(far, tmp_path):
    store = f"sqlite:///{tmp_path}/mlflow.db"
    subprocess.run(
        [sys.executable, "-m", "platform.mirror", str(far.study), "--uri", store], cwd=ROOT, check=True, timeout=120
    )
    client = MlflowClient(store)
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(children) == 6
    for run in children:
        assert {item.path for item in client.list_artifacts(run.info.run_id)} >= {"pictures", "checkpoint"}
    assert not [run for run in runs if "missing" in run.data.tags]
    shown = subprocess.run(
        [sys.executable, "-m", "platform.status", str(far.study)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert shown.returncode == 0
    assert f"s3://{BUCKET}/ablations/tiny/trials" in shown.stdout
