"""What was deleted, lost or changed on the server by hand: one command, and it equals the ledger again."""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.cli import gc
from mlflow.entities import ViewType

from analysis.schema import DIVERGED, RUNNING
from platform import mirror
from platform.mirror_check import contradicts, due
from platform.mirror_content import Wanted
from platform.mirror_server import Run
from tests.platform.mirrored import BEGUN, ROOT, Server, Study, follower, points, progress, runs, wait_for


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    """A store without a study: MLflow takes seconds to make one."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


class Place:
    """A results folder with a store of its own, and a study of three trials that was copied there."""

    def __init__(self, folder, empty_store):
        self.store, self.artifacts = folder / "mlflow.db", folder / "mlartifacts"
        shutil.copyfile(empty_store, self.store)
        self.uri = f"sqlite:///{self.store}"
        self.client = MlflowClient(self.uri)
        self.study = Study(folder, "mended")
        self.study.trial(1)
        self.study.leave_files(1, 20)
        self.study.trial(2, DIVERGED, seed=2, message="loss/g was NaN at step 20")
        self.study.trial(3, variant="no_attention", steps=(10, 20, 30))
        self.study.leave_files(3, 30)
        (self.study.folder / "report").mkdir()
        (self.study.folder / "report" / "index.html").write_text("<p>verdict</p>")
        self.repair()
        self.experiment = self.client.get_experiment_by_name("mended")

    def repair(self, *arguments):
        assert mirror.main([str(self.study.folder), *arguments]) == 0

    def run(self, number):
        """Return the run of a trial, 0: the study's."""
        parent, children = runs(self.client, self.study)
        return children[number] if number else parent

    def do(self, statement, *values):
        with sqlite3.connect(self.store) as db:
            db.execute("PRAGMA foreign_keys = ON")
            db.execute(statement, values)


@pytest.fixture
def place(tmp_path, empty_store):
    return Place(tmp_path, empty_store)


def shown(client, experiment_id, served=None):
    """Return all that the active runs of an experiment show, by trial; ids apart, which differ in a run made again."""
    found, parents = {}, {}
    for run in client.search_runs([experiment_id], run_view_type=ViewType.ACTIVE_ONLY):
        key = run.data.tags.get("trial", "study")
        assert key not in found, f"{key} has two runs"
        parents[key] = run.data.tags.get("mlflow.parentRunId")
        curves = {
            metric: sorted((one.step, one.timestamp, repr(one.value)) for one in client.get_metric_history(
                run.info.run_id, metric))
            for metric in run.data.metrics
        }  # fmt: skip
        found[key] = {
            "info": (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time),
            "tags": {
                **run.data.tags,
                "mlflow.parentRunId": "",
                "maker": "",
                "mirrored": run.data.tags["mirrored"].partition(" ")[0],
            },
            "params": run.data.params,
            "last": {metric: repr(value) for metric, value in run.data.metrics.items()},
            "curves": curves,
            "inputs": [(one.dataset.name, one.dataset.digest) for one in run.inputs.dataset_inputs],
            "files": dict(files(run, served)),
        }
        if key == "study":
            study = run.info.run_id
    assert {parent for key, parent in parents.items() if key != "study"} == {study}
    return found


def files(run, served):
    """Yield name and digest of each artifact, read from the disk; `served` is where a server keeps them."""
    kept = Path(run.info.artifact_uri)
    if served is not None:
        kept = served / run.info.experiment_id / run.info.run_id / "artifacts"
    for path in kept.rglob("*"):
        if path.is_file():
            yield str(path.relative_to(kept)), hashlib.sha256(path.read_bytes()).hexdigest()


def collected(place, *arguments):
    """Let MLflow remove for good what is deleted."""
    told = ["--backend-store-uri", place.uri, "--tracking-uri", place.uri, *arguments]
    done = CliRunner().invoke(gc, told)
    assert done.exit_code == 0, done.output


def one_run_deleted(place):
    place.client.delete_run(place.run(1).info.run_id)


def one_run_gone(place):
    run = place.run(1).info.run_id
    place.client.delete_run(run)
    collected(place, "--run-ids", run)


def the_studys_run_deleted(place):
    place.client.delete_run(place.run(0).info.run_id)


def the_studys_run_gone(place):
    run = place.run(0).info.run_id
    place.client.delete_run(run)
    collected(place, "--run-ids", run)


def all_runs_deleted(place):
    for run in place.client.search_runs([place.experiment.experiment_id]):
        place.client.delete_run(run.info.run_id)


def the_experiment_deleted(place):
    place.client.delete_experiment(place.experiment.experiment_id)


def the_experiment_gone(place):
    place.client.delete_experiment(place.experiment.experiment_id)
    collected(place, "--experiment-ids", place.experiment.experiment_id)


def the_store_gone(place):
    place.store.unlink()


def artifacts_gone(place):
    shutil.rmtree(place.artifacts)


def one_artifact_gone(place):
    next(place.artifacts.rglob("cat.png")).unlink()


def one_artifact_cut_off(place):
    next(place.artifacts.rglob("curves.parquet")).write_bytes(b"half")


def changed_at_equal_size(path):
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))


def a_picture_changed_at_equal_size(place):
    changed_at_equal_size(next(place.artifacts.rglob("cat.png")))


def weights_changed_at_equal_size(place):
    changed_at_equal_size(next(place.artifacts.rglob("generator.pt")))


def the_report_changed_at_equal_size(place):
    changed_at_equal_size(next(place.artifacts.rglob("index.html")))


def a_run_renamed(place):
    place.client.update_run(place.run(1).info.run_id, name="the best")


def the_studys_run_renamed(place):
    place.client.set_tag(place.run(0).info.run_id, "mlflow.runName", "for the paper")


def the_report_gone(place):
    next(place.artifacts.rglob("index.html")).unlink()


def runs_again(place):
    place.client.update_run(place.run(1).info.run_id, status="RUNNING")


def failed_by_hand(place):
    place.client.set_terminated(place.run(3).info.run_id, "FAILED")


def the_study_killed_by_hand(place):
    place.client.set_terminated(place.run(0).info.run_id, "KILLED")


def a_tag_changed(place):
    place.client.set_tag(place.run(1).info.run_id, "variant", "another")


def a_tag_of_the_study_deleted(place):
    place.client.delete_tag(place.run(0).info.run_id, "trials_completed")


def a_reason_invented(place):
    place.client.set_tag(place.run(1).info.run_id, "message", "it was me")


def a_mark_deleted(place):
    place.client.delete_tag(place.run(1).info.run_id, "mirrored")


def the_parent_forgotten(place):
    place.client.set_tag(place.run(1).info.run_id, "mlflow.parentRunId", "f" * 32)


def points_lost_in_mid_curve(place):
    place.do("DELETE FROM metrics WHERE step = 20 AND run_uuid = ?", place.run(3).info.run_id)


def last_points_lost(place):
    place.do("DELETE FROM metrics WHERE step = 30 AND run_uuid = ?", place.run(3).info.run_id)
    place.do("UPDATE latest_metrics SET step = 20, value = 10 WHERE run_uuid = ?", place.run(3).info.run_id)


def all_points_lost(place):
    for table in ("metrics", "latest_metrics"):
        place.do(f"DELETE FROM {table} WHERE run_uuid = ?", place.run(3).info.run_id)


def a_foreign_point(place):
    place.client.log_metric(place.run(1).info.run_id, "eval/psnr_db", 99.0, step=15)


def a_foreign_last_point(place):
    place.client.log_metric(place.run(1).info.run_id, "eval/psnr_db", 99.0, step=999)


def a_parameter_lost(place):
    place.do("DELETE FROM params WHERE key = 'steps' AND run_uuid = ?", place.run(1).info.run_id)


def a_parameter_changed(place):
    place.do("UPDATE params SET value = '1' WHERE key = 'steps' AND run_uuid = ?", place.run(1).info.run_id)


def the_input_lost(place):
    place.do("DELETE FROM inputs WHERE destination_id = ?", place.run(1).info.run_id)


def a_run_doubled(place):
    run = place.run(1)
    place.client.create_run(run.info.experiment_id, tags=run.data.tags)


def a_deleted_run_restored_beside_its_successor(place):
    run = place.run(1).info.run_id
    place.client.delete_run(run)
    place.repair()
    place.client.restore_run(run)


def a_run_of_a_trial_that_the_ledger_does_not_know(place):
    run = place.run(1)
    place.client.create_run(run.info.experiment_id, tags={**run.data.tags, "trial": f"{77:032x}"})


@pytest.mark.parametrize(
    "damage",
    [
        one_run_deleted, one_run_gone, the_studys_run_deleted, the_studys_run_gone, all_runs_deleted,
        the_experiment_deleted, the_experiment_gone, the_store_gone, artifacts_gone, one_artifact_gone,
        one_artifact_cut_off, a_picture_changed_at_equal_size, weights_changed_at_equal_size,
        the_report_changed_at_equal_size, the_report_gone, a_run_renamed, the_studys_run_renamed,
        runs_again, failed_by_hand, the_study_killed_by_hand, a_tag_changed,
        a_tag_of_the_study_deleted, a_reason_invented, a_mark_deleted, the_parent_forgotten, points_lost_in_mid_curve,
        last_points_lost, all_points_lost, a_foreign_point, a_foreign_last_point, a_parameter_lost,
        a_parameter_changed, the_input_lost, a_run_doubled, a_deleted_run_restored_beside_its_successor,
        a_run_of_a_trial_that_the_ledger_does_not_know,
    ],
    ids=lambda damage: damage.__name__,
)  # fmt: skip
def test_one_command_mends(place, damage):
    before = shown(place.client, place.experiment.experiment_id)
    assert len(before) == 4
    damage(place)
    place.repair()
    known = MlflowClient(place.uri).get_experiment_by_name("mended")
    assert shown(MlflowClient(place.uri), known.experiment_id) == before


def test_a_store_put_back_from_an_old_backup_gets_what_came_after(place, tmp_path):
    with sqlite3.connect(place.store) as source, sqlite3.connect(tmp_path / "backup.db") as backup:
        source.backup(backup)
    place.study.trial(4, seed=4)
    place.study.do("UPDATE trial SET state = 'COMPLETED', message = NULL WHERE number = 2")
    place.study.add("spec", [2, BEGUN + 500, '{"study": "mended", "seeds": 4}'])
    place.repair()
    after = shown(place.client, place.experiment.experiment_id)
    with sqlite3.connect(tmp_path / "backup.db") as backup, sqlite3.connect(place.store) as target:
        backup.backup(target)
    assert shown(place.client, place.experiment.experiment_id) != after
    place.repair()
    assert shown(place.client, place.experiment.experiment_id) == after


def test_a_store_put_back_behind_the_mirrors_back_gets_no_curve_without_its_middle(place, tmp_path):
    """The server never fails, so nothing but the run's own mark tells that it lost what was sent."""
    place.study.drive()
    place.study.trial(4, RUNNING, seed=4, steps=(10,))
    command = [sys.executable, "-m", "platform.mirror", str(place.study.folder), "--follow"]
    following = subprocess.Popen(command, cwd=ROOT)

    def steps():
        number = runs(place.client, place.study)[1].get(4)
        return [step for step, _, _ in points(place.client, number)] if number else []

    def sent(step):  # the mark comes after the points: whoever puts the store back in between is not noticed
        run = runs(place.client, place.study)[1].get(4)
        return run is not None and run.data.tags["mirrored"].startswith(f"{step}@")

    wait_for(lambda: steps() == [10] and sent(10), 60)
    with sqlite3.connect(place.store) as source, sqlite3.connect(tmp_path / "backup.db") as backup:
        source.backup(backup)
    place.study.step(4, 20, at=BEGUN + 420)
    wait_for(lambda: steps() == [10, 20] and sent(20), 60)
    with sqlite3.connect(tmp_path / "backup.db") as backup, sqlite3.connect(place.store, timeout=20) as target:
        backup.backup(target)
    assert steps() == [10]
    place.study.step(4, 30, at=BEGUN + 430)
    wait_for(lambda: len(steps()) > 1, 60)
    assert steps() == [10, 20, 30]
    place.study.do("UPDATE trial SET state = 'COMPLETED', ended = ? WHERE number = 4", BEGUN + 440)
    place.study.end()
    assert following.wait(60) == 0


@pytest.mark.parametrize("how", ["replaced", "deleted"])
def test_a_store_replaced_or_deleted_while_it_is_followed_gets_it_all(place, tmp_path, how):
    """Another file, not another content of the same: the connections that are open lead to the old one.

    In WAL mode, as in a store that the mirror began, SQLite itself does not notice that.
    """
    place.do("PRAGMA journal_mode = WAL")
    place.study.drive()
    with sqlite3.connect(place.store) as source, sqlite3.connect(tmp_path / "backup.db") as backup:
        source.backup(backup)
    with follower(place.study) as following:
        place.study.trial(4, seed=4)
        wait_for(lambda: 4 in runs(place.client, place.study)[1], 60)
        for file in place.store.parent.glob("mlflow.db*"):
            file.unlink()
        if how == "replaced":
            os.replace(tmp_path / "backup.db", place.store)
        place.study.trial(5, seed=5)
        wait_for(lambda: progress(place.study)["of"] == 5, 60)
        place.study.end()
        said = following.communicate(timeout=100)[1]
    assert following.returncode == 0
    assert "did not take mended: the store's file was deleted or replaced" in said
    assert "takes mended again: 5 ended trials copied" in said
    client = MlflowClient(f"{place.uri}?")  # the connections of the other one lead to the old file
    found = runs(client, place.study)[1]
    assert sorted(found) == [1, 2, 3, 4, 5]
    assert all(points(client, run) for run in found.values())


@pytest.mark.parametrize("how", [shutil.move, shutil.copytree])
def test_a_results_folder_that_was_moved_or_copied_has_its_artifacts_beside_its_store(tmp_path, empty_store, how):
    (tmp_path / "old").mkdir()
    place = Place(tmp_path / "old", empty_store)
    place.study.add("study", ["folder", json.dumps(str(place.study.folder))])
    place.repair()
    before = shown(place.client, place.experiment.experiment_id)
    how(tmp_path / "old", tmp_path / "new")
    there = {path: path.read_bytes() for path in (tmp_path / "old").rglob("*.png")}
    next((tmp_path / "new" / "mlartifacts").rglob("cat.png")).unlink()
    assert mirror.main([str(tmp_path / "new" / "mended")]) == 0
    client = MlflowClient(f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("mended")
    assert shown(client, experiment.experiment_id) == before
    assert experiment.artifact_location == str(tmp_path / "new" / "mlartifacts")
    assert {path: path.read_bytes() for path in (tmp_path / "old").rglob("*.png")} == there


def test_artifacts_in_a_folder_that_no_store_was_moved_away_from_stay_there(tmp_path, empty_store):
    store, shared = tmp_path / "team" / "mlflow.db", tmp_path / "disk" / "mlartifacts"
    store.parent.mkdir()
    (tmp_path / "mine").mkdir()
    shutil.copy(empty_store, store)
    client = MlflowClient(f"sqlite:///{store}")
    foreign = client.create_run(client.create_experiment("mended", str(shared))).info
    client.log_text(foreign.run_id, "theirs", "note.txt")
    place = Place(tmp_path / "mine", empty_store)
    assert mirror.main([str(place.study.folder), "--uri", f"sqlite:///{store}"]) == 0
    assert [one.path for one in client.list_artifacts(foreign.run_id)] == ["note.txt"]
    runs = client.search_runs([foreign.experiment_id])
    assert len(runs) > 1
    assert all(one.info.artifact_uri.startswith(f"{shared}/") for one in runs)


def test_a_renamed_experiment_keeps_its_new_name(place):
    before = shown(place.client, place.experiment.experiment_id)
    place.client.rename_experiment(place.experiment.experiment_id, "the one for the paper")
    place.client.delete_run(place.client.search_runs([place.experiment.experiment_id])[0].info.run_id)
    place.repair()
    assert place.client.get_experiment_by_name("mended") is None
    assert shown(place.client, place.experiment.experiment_id) == before


def test_what_others_put_into_the_experiment_is_left_alone(place):
    mine = place.run(1).info.run_id
    foreign = place.client.create_run(place.experiment.experiment_id, tags={"study": "mended", "trial": f"{1:032x}"})
    place.client.log_metric(foreign.info.run_id, "eval/psnr_db", 1.0)
    place.client.set_tag(mine, "mlflow.note.content", "look at the sky")
    place.client.set_tag(mine, "liked", "yes")
    place.client.log_metric(mine, "beauty", 3.0)
    place.client.log_param(mine, "rated_by", "me")
    place.client.log_text(mine, "blue", "notes/sky.txt")
    before = place.client.get_run(foreign.info.run_id).to_dictionary()
    place.repair()
    assert place.client.get_run(foreign.info.run_id).to_dictionary() == before
    run = place.client.get_run(mine)
    assert run.info.lifecycle_stage == "active"
    assert {"mlflow.note.content": "look at the sky", "liked": "yes"}.items() <= run.data.tags.items()
    assert (run.data.metrics["beauty"], run.data.params["rated_by"]) == (3.0, "me")
    assert "notes/sky.txt" in dict(files(run, None))


def test_a_whole_copy_is_left_as_it_is(place):
    def rows():
        with sqlite3.connect(place.store) as db:
            tables = ("runs", "tags", "params", "metrics", "latest_metrics", "inputs", "experiments", "experiment_tags")
            return {table: sorted(map(str, db.execute(f"SELECT * FROM {table}"))) for table in tables}

    before = rows()
    place.repair()
    assert rows() == before


def test_a_following_mirror_finds_runs_deleted_during_the_study_when_it_ends(place):
    before = shown(place.client, place.experiment.experiment_id)
    place.client.delete_run(place.run(1).info.run_id)
    place.client.set_tag(place.run(3).info.run_id, "variant", "another")
    place.repair("--follow")
    assert shown(place.client, place.experiment.experiment_id) == before


def test_mirrors_of_two_copies_of_a_study_at_once_leave_one_run_each(place, tmp_path):
    for number in range(4, 16):
        place.study.trial(number, seed=number)
    place.repair("--experiment", "reference")
    expected = shown(place.client, place.client.get_experiment_by_name("reference").experiment_id)
    place.study.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copytree(place.study.folder, tmp_path / "elsewhere" / "mended")
    folders = (place.study.folder, tmp_path / "elsewhere" / "mended")
    command = [sys.executable, "-m", "platform.mirror"]
    at_once = [
        subprocess.Popen([*command, str(folder), "--uri", place.uri], cwd=ROOT, stderr=subprocess.PIPE)
        for folder in folders
    ]
    for process in at_once:
        process.communicate(timeout=120)
    place.repair()
    assert shown(place.client, place.experiment.experiment_id) == expected


def test_a_copy_of_a_study_leaves_the_runs_alone_that_the_other_went_on_with(place, tmp_path):
    place.study.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other = tmp_path / "elsewhere" / "mended"
    shutil.copytree(place.study.folder, other)
    place.study.trial(4, seed=4)
    place.repair()
    before = runs(place.client, place.study)[1]
    assert mirror.main([str(other), "--uri", place.uri]) == 0
    after = runs(place.client, place.study)[1]
    assert {number: run.info.run_id for number, run in after.items()} == {
        number: run.info.run_id for number, run in before.items()
    }


def test_a_ledger_put_back_to_an_older_state_takes_its_newer_runs_back(place, tmp_path):
    with sqlite3.connect(tmp_path / "kept.db") as kept:
        place.study.db.backup(kept)
        place.study.trial(4, seed=4)
        place.repair()
        assert sorted(runs(place.client, place.study)[1]) == [1, 2, 3, 4]
        kept.backup(place.study.db)
    place.repair()
    assert sorted(runs(place.client, place.study)[1]) == [1, 2, 3]


@pytest.mark.slow
def test_a_server_s_runs_are_mended_through_it(place, tmp_path):
    """Curves and artifacts are asked for in other ways of a server than of a store."""
    (tmp_path / "server").mkdir()
    server = Server(tmp_path / "server", place.store)
    server.start()
    try:
        client = MlflowClient(server.uri)
        wait_for(lambda: mirror.main([str(place.study.folder), "--uri", server.uri, "--experiment", "served"]) == 0, 90)
        known = client.get_experiment_by_name("served").experiment_id
        served = tmp_path / "server" / "served"
        before = shown(client, known, served)
        children = {run.data.tags.get("trial"): run for run in client.search_runs([known])}
        with sqlite3.connect(tmp_path / "server" / "served.db", timeout=20) as db:
            db.execute("DELETE FROM metrics WHERE step = 20 AND run_uuid = ?", [children[f"{3:032x}"].info.run_id])
        client.log_metric(children[f"{1:032x}"].info.run_id, "eval/niqe", 1.0, step=15)
        next(served.rglob("generator.pt")).unlink()
        changed_at_equal_size(next(served.rglob("cat.png")))
        shutil.rmtree(next(served.rglob("report")))
        assert shown(client, known, served) != before
        place.repair("--uri", server.uri, "--experiment", "served")
        assert shown(client, known, served) == before
    finally:
        server.kill()


def test_a_run_of_more_points_than_a_request_takes_is_whole_before_it_says_so(place, monkeypatch):
    """MLflow's client cuts a batch up and sends the tags first: the mark among them would promise what never came."""
    for step in range(40, 1600):
        place.study.step(3, step, at=BEGUN + 400 + step)
    sent = []
    monkeypatch.setattr(MlflowClient, "log_batch", lambda self, run, **batch: sent.append(batch))
    monkeypatch.setattr(MlflowClient, "set_tag", lambda self, run, key, value: sent.append(key))
    place.repair()
    (batch,) = [one for one in sent if isinstance(one, dict) and len(one["metrics"]) > 1000]
    assert "mirrored" not in {tag.key for tag in batch["tags"]}
    assert sent[sent.index(batch) + 1] == "mirrored"


# --- what is compared ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "held", "params", "expected"),
    [
        ({1, 2}, {1, 2}, {"a": "1"}, False),
        ({1, 2}, {1}, {}, False),  # what is lacking can be sent
        ({1}, {1, 2}, {"a": "1"}, True),
        ({1}, {1}, {"a": "2"}, True),
        ({1}, {1}, {"b": "2"}, False),  # another's
        ({1}, {1}, {"a": "1", "long": "x" * 6000}, False),  # MLflow cut it off
        ({1}, {1}, {"a": "1", "long": "x" * 5999}, True),
    ],
)
def test_what_mlflow_cannot_take_back(points, held, params, expected):
    wanted = Wanted("", "FINISHED", 0, 0, "0@0", {}, {"a": "1", "long": "x" * 7000})
    run = Run("id", "", ("", "FINISHED", 0), {}, {}, params)
    as_due = [{due("m", step, step, 0.5) for step in steps} for steps in (points, held)]
    assert contradicts(run, wanted, *as_due) is expected


def test_values_compare_as_mlflow_keeps_them():
    nan, inf = float("nan"), float("inf")
    assert due("m", 1, 1, None) == due("m", 1, 1, nan)
    assert due("m", 1, 1, inf) == due("m", 1, 1, sys.float_info.max)
    assert due("m", 1, 1, -inf) == due("m", 1, 1, -sys.float_info.max)
    assert due("m", 1, 1, 1) == due("m", 1, 1, 1.0)
    assert due("m", 1, 1, -0.0) == due("m", 1, 1, 0.0)
    assert due("m", 1, 1, 0.1) != due("m", 1, 1, 0.1 + 1e-17 * 2)
