"""One copy, whatever happens: to MLflow's SQLite store, and to a server of its own that is killed."""

import fcntl
import json
import signal
import socket
import sqlite3
import subprocess
import sys
import time

import pandas as pd
import pytest
from mlflow import MlflowClient

from analysis.schema import FAILED, PLANNED, RUNNING, VERSION
from platform import mirror
from platform.ledger import Ledger
from platform.mirror_ledger import Ledger as Read
from tests.platform.mirrored import (
    BEGUN,
    ROOT,
    Server,
    Study,
    artifact,
    client,
    contents,
    copied,
    follower,
    points,
    progress,
    results,
    runs,
    study,
    wait_for,
)

__all__ = ["client", "results", "study"]  # fixtures


def test_a_second_copy_changes_nothing(study, results):
    study.trial(1)
    study.trial(2, FAILED, seed=2, message="out of memory")
    copied(study)
    before = contents(results)
    copied(study)
    assert contents(results) == before


def test_a_run_that_was_cut_off_is_completed_and_not_doubled(study, client):
    study.trial(1)
    copied(study)
    whole = runs(client, study)[1][1]
    with sqlite3.connect(client.tracking_uri.removeprefix("sqlite:///")) as db:  # as if only `create_run` had come in
        for table in ("metrics", "latest_metrics", "params"):
            db.execute(f"DELETE FROM {table} WHERE run_uuid = ?", (whole.info.run_id,))
        db.execute("UPDATE runs SET status = 'RUNNING', end_time = NULL WHERE run_uuid = ?", (whole.info.run_id,))
    copied(study)
    again = runs(client, study)[1][1]
    assert again.info.to_proto() == whole.info.to_proto()
    assert (again.data.params, again.data.tags) == (whole.data.params, whole.data.tags)
    assert points(client, again) == [(10, 110.0, 5.0), (20, 120.0, 10.0)]


def test_a_doubled_run_is_made_single(study, client):
    study.trial(1)
    copied(study)
    parent, children = runs(client, study)
    for run in (parent, children[1]):
        client.create_run(run.info.experiment_id, tags=run.data.tags)
    copied(study)
    again = runs(client, study)
    assert (again[0].info.run_id, again[1][1].info.run_id) == (parent.info.run_id, children[1].info.run_id)


def test_runs_deleted_by_hand_are_made_again(study, client):
    study.trial(1)
    study.trial(2, seed=2)
    copied(study)
    parent, children = runs(client, study)
    client.delete_run(parent.info.run_id)
    client.delete_run(children[1].info.run_id)
    copied(study)
    new_parent, again = runs(client, study)
    assert again.keys() == {1, 2}
    assert again[2].info.run_id == children[2].info.run_id
    assert {run.data.tags["mlflow.parentRunId"] for run in again.values()} == {new_parent.info.run_id}
    assert points(client, again[1]) == [(10, 110.0, 5.0), (20, 120.0, 10.0)]


def test_a_running_trial_shows_only_what_a_checkpoint_holds_and_goes_on_in_the_same_run(study, client):
    study.drive()
    study.trial(1, RUNNING)
    study.trial(2, PLANNED, seed=2, steps=())
    study.step(1, 30, at=BEGUN + 130, checkpoint=False)
    copied(study)
    parent, children = runs(client, study)
    assert (parent.info.status, children.keys(), children[1].info.status) == ("RUNNING", {1}, "RUNNING")
    assert [step for step, _, _ in points(client, children[1])] == [10, 20]

    study.die()  # kill -9: the ledger still says RUNNING
    copied(study)
    parent, children = runs(client, study)
    assert (parent.info.status, children[1].info.status) == ("KILLED", "KILLED")
    assert children[1].info.end_time == (BEGUN + 130) * 1000

    study.drive()
    study.add("attempt", [1, 2, 1, BEGUN + 200, None, 20, None, None])
    study.step(1, 30, at=BEGUN + 230, value=99.0)
    copied(study)
    assert runs(client, study)[1][1].info.status == "RUNNING"

    study.do("UPDATE trial SET state = 'COMPLETED', ended = ? WHERE number = 1", BEGUN + 240)
    study.do("DELETE FROM cell WHERE trial = 2")
    study.end()
    copied(study)
    parent, after = runs(client, study)
    assert (parent.info.status, after[1].info.status) == ("FINISHED", "FINISHED")
    assert after[1].info.run_id == children[1].info.run_id
    assert points(client, after[1]) == [(10, 110.0, 5.0), (20, 120.0, 10.0), (30, 230.0, 99.0)]


def test_a_failed_trial_that_is_trained_again_gets_a_run_without_the_old_curve(study, client):
    study.trial(1, FAILED, steps=(10,), message="node lost")
    study.step(1, 20, at=BEGUN + 120, checkpoint=False, value=-1.0)
    copied(study)
    failed = runs(client, study)[1][1]
    assert points(client, failed) == [(10, 110.0, 5.0), (20, 120.0, -1.0)]
    assert {"kind": "bug", "message": "node lost"}.items() <= failed.data.tags.items()
    study.step(1, 20, at=BEGUN + 320)
    study.do("UPDATE trial SET state = 'COMPLETED', kind = NULL, message = NULL")
    copied(study)
    again = runs(client, study)[1][1]
    assert points(client, again) == [(10, 110.0, 5.0), (20, 320.0, 10.0)]
    assert not {"kind", "message"} & again.data.tags.keys()


def test_a_failure_that_is_taken_back_leaves_no_reason_behind(study, client):
    study.trial(1, FAILED, message="node lost")
    copied(study)
    study.do("UPDATE trial SET state = 'COMPLETED', kind = NULL, message = NULL")
    copied(study)
    run = runs(client, study)[1][1]
    assert run.info.status == "FINISHED"
    assert not {"kind", "message"} & run.data.tags.keys()


def test_a_study_begun_anew_under_its_old_name_does_not_touch_the_old_runs(study, results, client):
    study.trial(1)
    copied(study)
    study.folder.rename(results / f"{study.name}-old")
    again = Study(results, study.name, begun=BEGUN + 5000)
    again.trial(1)
    copied(again)
    known = client.get_experiment_by_name(study.name)
    found = client.search_runs([known.experiment_id], f"tags.trial = '{1:032x}'")
    assert len(found) == 2
    assert all(len(client.get_metric_history(run.info.run_id, "eval/psnr_db")) == 2 for run in found)


def test_a_trial_that_fell_out_of_the_plan_keeps_its_run(study, client):
    study.trial(1)
    study.trial(2, seed=2)
    copied(study)
    study.do("DELETE FROM cell WHERE trial = 1")
    copied(study)
    parent, children = runs(client, study)
    assert (children[1].data.tags["stage"], children[2].data.tags["stage"]) == ("unplanned", "fixed")
    assert (parent.data.tags["trials"], parent.info.status) == ("1", "FINISHED")


# --- where and when ------------------------------------------------------------------------------------------


def test_the_default_store_lies_in_the_results_folder_with_absolute_addresses(study, results, client):
    study.trial(1)
    copied(study)
    assert client.get_experiment_by_name(study.name).artifact_location == str(results / "mlartifacts")
    with sqlite3.connect(results / "mlflow.db") as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    progress = json.loads((study.folder / "mirror.json").read_text())
    expected = {"uri": f"sqlite:///{results / 'mlflow.db'}", "experiment": study.name, "copied": 1, "of": 1}
    assert (expected | {"error": None}).items() <= progress.items()
    assert mirror.behind(study.folder) == 0


def test_a_study_is_found_by_its_name_below_results(study, results, tmp_path, monkeypatch):
    study.trial(1)
    (tmp_path / "results").symlink_to(results)
    monkeypatch.chdir(tmp_path)
    assert mirror.main([study.name]) == 0
    assert mirror.behind(study.folder) == 0


def test_the_spec_and_the_command_line_name_the_experiment(study, client):
    study.trial(1)
    spec = {"tracking": {"uri": None, "experiment": f"{study.name} by spec"}}
    study.do("UPDATE spec SET resolved = ?", json.dumps(spec))
    copied(study)
    copied(study, "--experiment", f"{study.name} by hand")
    for name in ("by spec", "by hand"):
        known = client.get_experiment_by_name(f"{study.name} {name}")
        assert len(client.search_runs([known.experiment_id])) == 2


def test_the_lock_of_a_real_driver_tells_that_it_runs(tmp_path):
    ledger = Ledger(tmp_path / "study")
    read = Read(tmp_path / "study")
    assert not read.driver_runs()  # it holds the lock, but only looks
    ledger.begin_driver({}, 1.0)
    assert read.driver_runs()
    ledger.close()  # as a killed driver does: without signing off
    assert not read.driver_runs()
    other = subprocess.Popen(
        [sys.executable, "-c", "import sys, pathlib, platform.ledger as l; held = l.Ledger(pathlib.Path(sys.argv[1])); "
         "print('held', flush=True); input()", str(tmp_path / "study")],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert other.stdout.readline() == b"held\n"
    assert not read.driver_runs()  # another process holds it now
    other.communicate(b"\n")


def test_a_server_that_cannot_be_reached_is_named_with_the_command_that_repeats(study, capsys):
    study.trial(1)
    study.trial(2, seed=2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nothing listens there
        uri = f"http://me:secret@127.0.0.1:{taken.getsockname()[1]}"
        start = time.monotonic()
        assert mirror.main([str(study.folder), "--uri", uri]) == 1
    assert time.monotonic() - start < 20
    said = capsys.readouterr().err
    assert f"did not take {study.name}: " in said
    assert "refused" in said
    repeat = f"python -m platform.mirror {study.folder} --uri={uri.replace('secret', '***')}"
    assert said.strip().endswith(f"Nothing is lost, the ledger holds it all; to copy it: {repeat}")
    assert "secret" not in said
    assert mirror.behind(study.folder) == 2
    assert json.loads((study.folder / "mirror.json").read_text())["error"] == said.strip()


def test_a_trial_that_the_server_refuses_does_not_keep_the_others_away(study, client, capsys):
    study.trial(1)
    study.trial(2, seed=2)
    study.do("UPDATE trial SET settings = ? WHERE number = 1", json.dumps({"so\tnot": 1}))
    assert mirror.main([str(study.folder)]) == 1
    assert "so\\tnot" in capsys.readouterr().err
    assert points(client, runs(client, study)[1][2]) == [(10, 210.0, 5.0), (20, 220.0, 10.0)]
    assert mirror.behind(study.folder) == 1


def test_a_folder_without_a_ledger_and_a_foreign_version_are_refused_in_a_sentence(study, tmp_path, capsys):
    assert mirror.main([str(tmp_path)]) == 1
    assert "expected the folder of a study, but it holds no ledger.db" in capsys.readouterr().err
    study.do("UPDATE study SET value = '99' WHERE key = 'schema'")
    assert mirror.main([str(study.folder)]) == 1
    assert f"expected a ledger of version {VERSION}, got 99" in capsys.readouterr().err


def test_two_mirrors_of_one_study_do_not_work_at_once(study, capsys):
    study.trial(1)
    with (study.folder / "mirror.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert mirror.main([str(study.folder)]) == 1
    assert "another process is copying this study" in capsys.readouterr().err


def test_nothing_is_known_to_be_behind_before_a_mirror_has_spoken(tmp_path):
    assert mirror.behind(tmp_path) is None
    (tmp_path / "mirror.json").write_text("{")
    assert mirror.behind(tmp_path) is None


# --- a server of its own -------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path, results):
    server = Server(tmp_path, results / "mlflow.db")
    server.start()
    yield server
    server.kill()


@pytest.mark.slow
def test_a_server_killed_in_the_midst_of_a_study_ends_up_with_every_trial_once(study, server):
    study.drive()
    study.trial(1)
    following = follower(study, "--uri", server.uri, "--experiment", study.name)
    wait_for(lambda: progress(study)["copied"] == 1, 90)
    for number in range(2, 14):
        study.trial(number, seed=number)
        time.sleep(0.05)
        if number == 8:
            wait_for(lambda: progress(study)["copied"] > 2, 60)
            server.kill()
    study.trial(14, RUNNING, seed=14)
    wait_for(lambda: progress(study)["error"], 60)
    assert following.poll() is None
    server.start()
    study.do("UPDATE trial SET state = 'STOPPED', ended = ? WHERE number = 14", BEGUN + 1500)
    study.end(at=2000)
    assert following.wait(90) == 0, following.stderr.read()
    client = MlflowClient(server.uri)
    parent, children = runs(client, study)
    assert children.keys() == set(range(1, 15))
    assert {run.info.status for run in (parent, *children.values())} == {"FINISHED"}
    for number, run in children.items():
        assert points(client, run) == [(10, 100.0 * number + 10, 5.0), (20, 100.0 * number + 20, 10.0)]
    scores = artifact(client, children[14], "image_scores.parquet")
    assert len(pd.read_parquet(scores)) == 2


def test_a_signal_ends_the_following_and_the_same_command_completes_the_copy(study, results, client):
    study.drive()
    study.trial(1)
    following = follower(study)
    wait_for(lambda: progress(study)["copied"] == 1, 60)
    study.trial(2, RUNNING, seed=2)
    wait_for(lambda: 2 in runs(client, study)[1], 60)
    following.send_signal(signal.SIGTERM)
    assert following.wait(120) == 1
    assert "was stopped" in following.stderr.read()
    study.do("UPDATE trial SET state = 'COMPLETED', ended = ? WHERE number = 2", BEGUN + 300)
    study.end()
    copied(study, "--follow")
    parent, children = runs(client, study)
    assert [run.info.status for run in (parent, children[1], children[2])] == ["FINISHED"] * 3
