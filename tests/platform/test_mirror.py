"""The mirror against a real MLflow: its SQLite store, and a server of its own that is killed."""

import fcntl
import json
import math
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from analysis.schema import COMPLETED, DIVERGED, FAILED, PLANNED, RUNNING, SCHEMA, STOPPED, VERSION
from platform import mirror
from platform.ledger import Ledger
from platform.mirror_content import flat, status
from platform.mirror_ledger import Begun
from platform.mirror_ledger import Ledger as Read

ROOT = Path(__file__).parents[2]
BEGUN = 1_760_000_000.0
SETTINGS = {"steps": 40, "generator": {"width": 8, "attention": "none"}, "vgg": None, "layers": [1, 2]}
DATA = {"source": "photos", "training": {"low": 2, "normal": 3}, "sets": {"night": {"images": 1}}, "caution": "to try"}
RECORD = {"git_commit": "c" * 40, "git_dirty": True, "versions": {"torch": "2.9"}, "command": ["python", "x.yaml"]}


class Study:
    """A ledger, written by hand; times are seconds after `BEGUN`."""

    def __init__(self, results, name, begun=BEGUN):
        self.name, self.folder, self.begun, self.lock = name, results / name, begun, None
        self.folder.mkdir()
        self.db = sqlite3.connect(self.folder / "ledger.db", isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.executescript(SCHEMA)
        facts = {"name": name, "schema": VERSION, "storage": str(self.folder), "data": DATA}
        self.add("study", *([key, json.dumps(value)] for key, value in facts.items()))
        spec = {"study": name, "analysis": {"primary": "eval/psnr_db"}}
        self.add("spec", [1, begun, json.dumps(spec)])
        self.add("driver", [1, begun, begun + 900, socket.gethostname(), os.getpid(), json.dumps(RECORD)])

    def add(self, table, *rows):
        for row in rows:
            self.db.execute(f'INSERT OR REPLACE INTO "{table}" VALUES ({", ".join("?" * len(row))})', row)

    def do(self, statement, *values):
        self.db.execute(statement, values)

    def trial(
        self, number, state=COMPLETED, *, variant="baseline", seed=1, steps=(10, 20), message=None, stage="fixed",
        place=(0, 0), settings=SETTINGS, data="d" * 40,
    ):  # fmt: skip
        start = self.begun + 100 * number
        ended = None if state in (RUNNING, PLANNED) else start + 50
        kind = "bug" if state == FAILED else None
        row = [number, f"{number:032x}", seed, "", json.dumps(settings), data, state, kind, message]
        self.add("trial", [*row, self.begun, start, ended])
        self.add("cell", [stage, variant, *place, seed, number])
        if state != PLANNED:
            record = json.dumps({"node": "n1", "device": "cpu", "versions": {"torch": "2.10"}})
            self.add("attempt", [number, 1, 1, start, ended, 0, None, record])
        for step in steps:
            self.step(number, step, at=start + step)

    def step(self, number, step, *, at, checkpoint=True, value=None):
        self.add("step", [number, step, at, step / 10, f"t{number}/{step}.pt" if checkpoint else None, "{}"])
        self.add("report", [number, step, "eval/psnr_db", step / 2 if value is None else value])
        self.add("report", [number, step, "eval/niqe", None])
        self.add("image", [number, step, "night", "cat", "eval/psnr_db", step / 2])

    def leave_files(self, number, step):
        folder = self.folder / f"t{number}"
        folder.mkdir()
        (folder / "generator.pt").write_bytes(b"weights")
        (folder / "cat.png").write_bytes(b"picture")
        pictures = json.dumps({"night/cat": f"t{number}/cat.png"})
        self.do("UPDATE step SET pictures = ? WHERE trial = ? AND step = ?", pictures, number, step)

    def drive(self):
        """Let this process be a driver that runs."""
        self.do("UPDATE driver SET ended = NULL")
        self.lock = (self.folder / "driver.lock").open("w")
        self.lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        self.lock.flush()
        fcntl.flock(self.lock, fcntl.LOCK_EX)

    def die(self):
        self.lock.close()

    def end(self, at=950.0):
        self.do("UPDATE driver SET ended = ?", self.begun + at)
        self.die()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One results folder, and so one default store, for all tests: MLflow takes seconds to make one."""
    results = tmp_path_factory.mktemp("results")
    copied(Study(results, "first"))
    return results


@pytest.fixture
def study(results, request):
    return Study(results, request.node.name.removeprefix("test_")[:60])


@pytest.fixture
def client(results):
    return MlflowClient(f"sqlite:///{results / 'mlflow.db'}")


def copied(study, *arguments):
    assert mirror.main([str(study.folder), *arguments]) == 0


def runs(client, study, view=ViewType.ACTIVE_ONLY):
    """Return the study's run and its trials' runs by number."""
    known = client.get_experiment_by_name(study.name)
    found = client.search_runs([known.experiment_id], run_view_type=view, max_results=50_000)
    children = [run for run in found if "trial" in run.data.tags]
    (parent,) = [run for run in found if "trial" not in run.data.tags]
    by_number = {int(run.data.tags["trial"], 16): run for run in children}
    assert len(by_number) == len(children), "a trial has two runs"
    return parent, by_number


def points(client, run, metric="eval/psnr_db"):
    """Return (step, seconds after the beginning, value), as the server keeps them."""
    history = client.get_metric_history(run.info.run_id, metric)
    return sorted((one.step, one.timestamp / 1000 - BEGUN, one.value) for one in history)


def artifact(client, run, path):
    return Path(client.download_artifacts(run.info.run_id, path))


# --- what a run says -----------------------------------------------------------------------------------------


def test_a_trials_run_says_what_was_trained_how_it_went_and_where(study, client):
    study.trial(1, variant="no_attention", seed=7)
    copied(study)
    parent, children = runs(client, study)
    run = children[1]
    assert run.info.run_name == "no_attention · seed 7"
    assert (run.info.status, run.info.start_time, run.info.end_time) == (
        "FINISHED",
        (BEGUN + 100) * 1000,
        (BEGUN + 150) * 1000,
    )
    assert run.data.params == {
        "steps": "40",
        "generator.width": "8",
        "generator.attention": "none",
        "vgg": "null",
        "layers": "[1, 2]",
    }
    expected = {
        "mlflow.parentRunId": parent.info.run_id,
        "mlflow.source.git.commit": "c" * 40,
        "git_dirty": "true",
        "study": study.name,
        "trial": f"{1:032x}",
        "variant": "no_attention",
        "stage": "fixed",
        "seed": "7",
        "state": "COMPLETED",
        "node": "n1",
        "device": "cpu",
        "versions": "torch 2.10",
    }
    assert expected.items() <= run.data.tags.items()
    assert points(client, run) == [(10, 110.0, 5.0), (20, 120.0, 10.0)]
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest, len(used.dataset.digest)) == ("photos", "d" * 36, 36)


def test_a_metric_that_could_not_be_computed_is_not_a_number_there(study, client):
    study.trial(1)
    copied(study)
    history = client.get_metric_history(runs(client, study)[1][1].info.run_id, "eval/niqe")
    assert [one.step for one in history] == [10, 20]
    assert all(math.isnan(one.value) for one in history)


def test_an_ended_trial_leaves_its_pictures_generator_scores_and_curves(study, client):
    study.trial(1)
    study.leave_files(1, 20)
    copied(study)
    run = runs(client, study)[1][1]
    assert artifact(client, run, "pictures/night/cat.png").read_bytes() == b"picture"
    assert artifact(client, run, "checkpoint/generator.pt").read_bytes() == b"weights"
    scores = pd.read_parquet(artifact(client, run, "image_scores.parquet"))
    assert scores.to_dict("list") == {
        "trial": [1, 1],
        "step": [10, 20],
        "set": ["night"] * 2,
        "image": ["cat"] * 2,
        "metric": ["eval/psnr_db"] * 2,
        "value": [5.0, 10.0],
    }
    curves = pd.read_parquet(artifact(client, run, "curves.parquet"))
    assert curves.columns.to_list() == ["trial", "step", "at", "seconds", "metric", "value"]
    assert curves.query("metric == 'eval/psnr_db'").value.to_list() == [5.0, 10.0]
    assert curves.query("metric == 'eval/niqe'").value.isna().all()
    assert "missing" not in run.data.tags


def test_a_file_that_the_storage_lacks_is_named_and_stops_nothing(study, client):
    study.trial(1)
    copied(study)
    run = runs(client, study)[1][1]
    assert run.info.status == "FINISHED"
    assert run.data.tags["missing"] == str(study.folder / "t1" / "generator.pt")


def test_the_studys_run_counts_its_trials_and_holds_spec_report_and_tables(study, client):
    study.trial(1)
    study.trial(2, DIVERGED, seed=2, message="loss/g was NaN at step 20\n\nTraceback")
    (study.folder / "report").mkdir()
    (study.folder / "report" / "index.html").write_text("<p>verdict</p>")
    (study.folder / "gain.png").write_bytes(b"brighter")
    study.add("reference_picture", ["gain", "d", "night/cat", "gain.png"])
    copied(study)
    parent, children = runs(client, study)
    assert (parent.info.run_name, parent.info.status) == (study.name, "FINISHED")
    assert (parent.info.start_time, parent.info.end_time) == (BEGUN * 1000, (BEGUN + 900) * 1000)
    counts = {"trials": "2", "trials_completed": "1", "trials_diverged": "1", "trials_failed": "0", "caution": "to try"}
    assert counts.items() <= parent.data.tags.items()
    assert json.loads(artifact(client, parent, "spec.json").read_text())["study"] == study.name
    assert artifact(client, parent, "report/index.html").read_text() == "<p>verdict</p>"
    assert artifact(client, parent, "pictures/gain/night/cat.png").read_bytes() == b"brighter"
    table = pd.read_parquet(artifact(client, parent, "ledger/trial.parquet"))
    assert table.state.to_list() == [COMPLETED, DIVERGED]
    assert children[2].data.tags["message"] == "loss/g was NaN at step 20"
    assert artifact(client, children[2], "message.txt").read_text().endswith("Traceback")


def test_events_are_counted_in_a_tag_and_kept_whole_in_a_file(study, client):
    study.trial(1)
    study.trial(2, RUNNING, seed=2, steps=(10,))
    study.step(2, 20, at=study.begun + 220, checkpoint=False)  # may be trained again
    for trial, step, kind in ((1, 5, "spike"), (1, 6, "spike"), (1, 20, "collapse"), (2, 8, "spike"), (2, 14, "spike")):
        study.add("event", [trial, step, kind, "global", 9.5, f"step {step}: {kind}"])
    copied(study)
    _, children = runs(client, study)
    assert children[1].data.tags["events"] == "collapse 1, spike 2"
    assert children[2].data.tags["events"] == "spike 1"
    found = pd.read_parquet(artifact(client, children[1], "events.parquet"))
    assert found.columns.to_list() == ["trial", "step", "kind", "subject", "value", "text"]
    assert found.step.to_list() == [5, 6, 20]
    study.trial(3, seed=3)
    copied(study)
    calm = runs(client, study)[1][3]
    assert "events" not in calm.data.tags
    assert "events.parquet" not in {item.path for item in client.list_artifacts(calm.info.run_id)}


def test_a_training_that_broke_down_keeps_its_last_measures_and_its_last_pictures(study, client):
    study.trial(1, DIVERGED, message="collapsed at step 27")
    study.leave_files(1, 20)
    study.step(1, 27, at=study.begun + 127, checkpoint=False)
    study.do("DELETE FROM image WHERE step = 27")
    study.add("report", [1, 27, "health/gradient_norm_global", 99.0])
    copied(study)
    run = runs(client, study)[1][1]
    assert points(client, run, "health/gradient_norm_global") == [(27, 127.0, 99.0)]
    assert artifact(client, run, "pictures/night/cat.png").read_bytes() == b"picture"
    assert run.data.tags["message"] == "collapsed at step 27"


def test_trained_models_that_the_study_is_compared_with_are_named_until_they_are_taken_away(study, client):
    study.trial(1)
    study.add("study", ["digest", '"d"'])
    study.add(
        "scored", ["official", "d", "1", "ab" * 32], ["input", "d", "1", None], ["official", "old", "1", "cd" * 32]
    )
    (study.folder / "official.png").write_bytes(b"enhanced")
    study.add("reference_picture", ["official", "d", "night/cat", "official.png"])
    copied(study)
    parent, _ = runs(client, study)
    assert parent.data.tags["references"] == f"official (SHA-256 {'ab' * 32})"
    assert artifact(client, parent, "pictures/official/night/cat.png").read_bytes() == b"enhanced"
    table = pd.read_parquet(artifact(client, parent, "ledger/scored.parquet"))
    assert set(table.method) == {"official", "input"}
    study.do("DELETE FROM scored WHERE data = 'd' AND weights IS NOT NULL")
    copied(study)
    assert "references" not in runs(client, study)[0].data.tags


def test_a_ledger_of_the_first_version_is_copied(study, client):
    study.trial(1)
    study.do("DROP TABLE event")
    study.do("DROP TABLE scored")
    for statement in (
        "CREATE TABLE earlier AS SELECT stage, variant, seed, trial FROM cell", "DROP TABLE cell",
        "ALTER TABLE earlier RENAME TO cell", "DROP TABLE suggestion", "DROP TABLE choice",
    ):  # fmt: skip
        study.do(statement)
    study.add("study", ["schema", "1"])
    copied(study)
    parent, children = runs(client, study)
    assert children[1].info.status == parent.info.status == "FINISHED"
    assert children[1].info.run_name == "baseline · seed 1"
    cells = pd.read_parquet(artifact(client, parent, "ledger/cell.parquet"))
    assert cells.to_dict("list") == {
        "stage": ["fixed"], "variant": ["baseline"], "repeat": [0], "number": [0], "seed": [1], "trial": [1],
    }  # fmt: skip
    assert pd.read_parquet(artifact(client, parent, "ledger/suggestion.parquet")).empty


def test_a_report_written_later_reaches_the_studys_run(study, client):
    study.trial(1)
    copied(study)
    (study.folder / "report").mkdir()
    for text in ("first", "second"):
        (study.folder / "report" / "index.html").write_text(text)
        copied(study)
        assert artifact(client, runs(client, study)[0], "report/index.html").read_text() == text


@pytest.mark.parametrize(
    ("state", "attempt_ended", "driver", "expected"),
    [
        (COMPLETED, 5.0, None, "FINISHED"),
        (STOPPED, 5.0, 2, "FINISHED"),
        (DIVERGED, 5.0, None, "FAILED"),
        (FAILED, 5.0, 2, "FAILED"),
        (RUNNING, None, 2, "RUNNING"),
        (RUNNING, None, None, "KILLED"),  # its driver was killed
        (RUNNING, None, 3, "KILLED"),  # another driver has not yet taken it up
        (PLANNED, 5.0, 2, "KILLED"),  # interrupted, to be gone on with
    ],
)
def test_status_of_a_trials_run(state, attempt_ended, driver, expected):
    begun = Begun(1, state, None, 1, attempt_ended, driver=2, settled=0, cells=())
    assert status(begun, driver) == expected


def test_settings_become_dotted_paths():
    nested = {"a": {"b": {"c": 1.5}, "d": "text"}, "e": True, "f": {}}
    assert flat(nested) == {"a.b.c": "1.5", "a.d": "text", "e": "true", "f": "{}"}


# --- a search ------------------------------------------------------------------------------------------------

WIDTH, SFP = "generator.width", "sfp"


def tuned(width):
    return {**SETTINGS, "generator": {"width": width, "attention": "none"}, SFP: 0.5}


def search(study, *, repeats=1, budget=None, sets=(), objectives=None):
    """Make this a study that searches: one fixed trial, and a search of `baseline` with two suggestions."""
    facts = {
        "search": {
            "objectives": objectives or {"eval/psnr_db": "max"}, "sampler": "tpe", "scheduler": "none",
            "repeats": repeats, "seeds": [1], "first_points": 2, "budget": budget or {"trials": 3},
            "parameters": {"baseline": [WIDTH, SFP]}, "left_out": {}, "cautions": [], "ended": {},
        },
        "confirm": {"seeds": [4, 5], "sets": list(sets), "digest": "e" * 40},
        "expected": {"fixed": 1, "search": 3, "confirm": 2},
    }  # fmt: skip
    study.add("study", *([key, json.dumps(value)] for key, value in facts.items()))
    spec = {"study": study.name, "analysis": {"primary": "eval/psnr_db", "at": 1}}
    study.do("UPDATE spec SET resolved = ?", json.dumps(spec))
    study.add("variant", ["baseline", 0, None, None, None, "{}"])
    study.trial(1)
    study.trial(2, stage="search", place=(0, 0), settings=tuned(16))
    study.trial(3, STOPPED, stage="search", place=(0, 1), steps=(10,), settings=tuned(4))
    study.add("decision", [3, 5, "continue", study.begun + 305], [3, 10, "stop", study.begun + 310])
    suggest(study, 0, 2, {WIDTH: 16, SFP: 0.5})
    suggest(study, 1, 3, {WIDTH: 4})  # under it the other setting plays no part


def suggest(study, number, trial, params, *, repeat=0, left_out=None):
    identity = f"{trial:032x}"
    study.add("suggestion", ["baseline", repeat, number, 0.0, json.dumps(params), identity, None, None, left_out])


def tags(run, *keys):
    return {key: run.data.tags.get(key) for key in keys}


def test_a_trial_of_a_search_is_named_by_its_suggestion_and_holds_the_searched_values_as_parameters(study, client):
    search(study)
    copied(study)
    _, children = runs(client, study)
    assert [run.info.run_name for _, run in sorted(children.items())] == [
        "baseline · seed 1", "baseline · search 0 · seed 1", "baseline · search 1 · seed 1",
    ]  # fmt: skip
    searched = [
        {key: value for key, value in run.data.params.items() if key.startswith("search/")}
        for _, run in sorted(children.items())
    ]
    assert searched == [{}, {"search/generator.width": "16", "search/sfp": "0.5"}, {"search/generator.width": "4"}]
    assert children[2].data.params["generator.width"] == "16"
    assert tags(children[2], "stage", "suggestion", "rung", "chosen") == {
        "stage": "search", "suggestion": "0", "rung": None, "chosen": None,
    }  # fmt: skip
    assert tags(children[3], "state", "suggestion", "rung") == {"state": "STOPPED", "suggestion": "1", "rung": "10"}
    assert children[3].info.status == "FINISHED"
    assert "suggestion" not in children[1].data.tags


def test_a_trial_that_fills_several_places_has_the_name_of_its_first_stage_and_tags_for_all(study, client):
    search(study)
    study.add("cell", ["search", "baseline", 0, 2, 1, 1], ["search", "baseline", 0, 3, 1, 1])
    suggest(study, 2, 1, {WIDTH: 8})
    copied(study)
    run = runs(client, study)[1][1]
    assert run.info.run_name == "baseline · seed 1"
    assert tags(run, "stage", "suggestion") == {"stage": "fixed, search", "suggestion": "2, 3"}
    assert run.data.params["search/generator.width"] == "8"


def test_a_place_in_the_search_that_is_found_later_reaches_a_run_that_is_there_already(study, client):
    study.drive()
    study.trial(1)
    following = follower(study)
    wait_for(lambda: progress(study)["copied"] == 1, 60)
    search(study)
    study.add("cell", ["search", "baseline", 0, 2, 1, 1])
    suggest(study, 2, 1, {WIDTH: 8})
    wait_for(lambda: runs(client, study)[1][1].data.tags["stage"] == "fixed, search", 30)  # while the driver runs
    assert runs(client, study)[1][1].data.params["search/generator.width"] == "8"
    study.end()
    assert following.wait(60) == 0, following.stderr.read()


def test_equal_trainings_suggested_with_other_idle_settings_are_one_run(study, client):
    search(study)
    study.add("cell", ["search", "baseline", 0, 2, 1, 2])
    suggest(study, 2, 2, {WIDTH: 99, SFP: 0.5})  # the same trial: what it has counts, and never changes
    copied(study)
    run = runs(client, study)[1][2]
    assert run.data.params["search/generator.width"] == "16"
    assert tags(run, "suggestion") == {"suggestion": "0, 2"}


def test_confirming_trials_have_their_name_their_images_and_what_they_confirm(study, client):
    search(study, sets=["SICE"])
    study.add("choice", ["baseline", 0, 0, "highest eval/psnr_db of 1", 0.0])
    study.trial(4, stage="confirm", seed=4, settings=tuned(16), data="e" * 40)
    study.add("image", *([4, 20, "SICE", name, "eval/psnr_db", value] for name, value in (("dog", 7.0), ("hen", 8.0))))
    copied(study)
    parent, children = runs(client, study)
    run = children[4]
    apart = {key: value for key, value in run.data.metrics.items() if key.partition("/")[0] in ("night", "SICE")}
    assert apart == {"SICE/eval/psnr_db": 7.5, "night/eval/psnr_db": 10.0}
    assert points(client, run, "SICE/eval/psnr_db")[0][0] == 20
    assert run.data.metrics["eval/psnr_db"] == 10.0  # as reported
    assert run.data.tags["scored_on"].startswith(
        "night (seen by the search) and SICE (new): a plain metric is the mean"
    )
    assert not [key for key in children[2].data.metrics if key.startswith("night/")]
    assert "scored_on" not in children[2].data.tags
    assert parent.data.metrics["search/baseline/confirmed/eval/psnr_db"] == 7.5
    assert parent.data.tags["search/baseline/confirmed"] == "eval/psnr_db 7.5 (1 of 2 seeds, on SICE)"
    assert run.info.run_name == "baseline · confirm · seed 4"
    assert tags(run, "stage", "suggestion", "chosen") == {"stage": "confirm", "suggestion": "0", "chosen": None}
    assert run.data.params["search/generator.width"] == "16"
    (used,) = run.inputs.dataset_inputs
    assert used.dataset.digest == "e" * 36
    assert json.loads(used.dataset.profile)["confirm"] == ["SICE"]
    (used,) = children[2].inputs.dataset_inputs
    assert used.dataset.digest == "d" * 36
    assert "confirm" not in json.loads(used.dataset.profile)
    assert tags(children[2], "chosen") == {"chosen": "baseline"}
    assert tags(children[3], "chosen") == {"chosen": None}


def test_several_repeats_are_told_apart(study, client):
    search(study, repeats=2)
    study.trial(4, stage="search", place=(1, 0), settings=tuned(2))
    study.add("choice", ["baseline", 1, 0, "highest eval/psnr_db of 1", 0.0])
    study.trial(5, stage="confirm", place=(1, 0), seed=4, settings=tuned(2))
    copied(study)
    parent, children = runs(client, study)
    assert children[4].info.run_name == "baseline · search 0 · seed 1 · repeat 1"
    assert children[5].info.run_name == "baseline · confirm · seed 4 · repeat 1"
    assert tags(children[4], "repeat", "chosen") == {"repeat": "1", "chosen": "baseline"}
    assert tags(children[2], "repeat", "chosen") == {"repeat": "0", "chosen": None}
    assert parent.data.tags["search/baseline/confirmed"] == "repeat 1: eval/psnr_db 10 (1 of 2 seeds)"


def test_the_studys_run_follows_the_search_to_what_was_promised_and_confirmed(study, client, results):
    study.drive()
    search(study)
    copied(study)
    parent, _ = runs(client, study)
    prefix = "search/baseline/"
    told = {key.removeprefix(prefix): value for key, value in parent.data.tags.items() if key.startswith(prefix)}
    assert told == {"spent": "2 of 3 trials", "stopped": "1", "best": "eval/psnr_db 10"}

    study.add("choice", ["baseline", 0, 0, "highest eval/psnr_db of 1", 0.0])
    study.trial(4, stage="confirm", seed=4, settings=tuned(16))
    copied(study)
    parent, children = runs(client, study)
    told = {key.removeprefix(prefix): value for key, value in parent.data.tags.items() if key.startswith(prefix)}
    assert told == {
        "spent": "2 of 3 trials", "stopped": "1", "best": "eval/psnr_db 10",
        "chosen": "0: generator.width 16, sfp 0.5 (highest eval/psnr_db of 1)",
        "promised": "eval/psnr_db 10", "confirmed": "eval/psnr_db 10 (1 of 2 seeds)",
    }  # fmt: skip
    assert children[2].data.tags["chosen"] == "baseline"
    assert parent.data.metrics == {
        f"{prefix}{what}/eval/psnr_db": 10.0 for what in ("untuned", "promised", "confirmed")
    }
    study.end()
    copied(study)
    assert runs(client, study)[0].info.status == "KILLED"  # a seed is still to be confirmed
    study.trial(5, stage="confirm", seed=5, settings=tuned(16))
    copied(study)
    parent, _ = runs(client, study)
    assert parent.info.status == "FINISHED"
    before = contents(results)
    copied(study)
    assert contents(results) == before

    study.do("DELETE FROM choice")  # the spec was changed: the search goes on
    study.do("DELETE FROM cell WHERE stage = 'confirm'")
    copied(study)
    parent, children = runs(client, study)
    assert not {f"{prefix}chosen", f"{prefix}promised", f"{prefix}confirmed"} & parent.data.tags.keys()
    assert "chosen" not in children[2].data.tags
    assert parent.info.status == "KILLED"
    values = {key.removeprefix(prefix): value for key, value in parent.data.metrics.items()}
    assert values["untuned/eval/psnr_db"] == 10.0
    assert math.isnan(values["promised/eval/psnr_db"])  # MLflow forgets no metric
    assert math.isnan(values["confirmed/eval/psnr_db"])
    before = contents(results)
    copied(study)
    assert contents(results) == before


def test_of_several_objectives_the_studys_run_has_the_front(study, client):
    search(study, objectives={"eval/psnr_db": "max", "eval/niqe": "min"})
    study.do("UPDATE report SET value = 4.5 WHERE metric = 'eval/niqe'")
    study.add("choice", ["baseline", 0, None, "none of 1 candidate has eval/niqe <= 4", 0.0])
    copied(study)
    told = runs(client, study)[0].data.tags
    assert told["search/baseline/best"] == "eval/psnr_db 10, eval/niqe 4.5 (front of 1)"
    assert told["search/baseline/chosen"] == "nothing, none of 1 candidate has eval/niqe <= 4"


def test_a_suggestion_that_is_no_point_of_the_search_any_more_is_marked(study, client):
    search(study)
    study.do("DELETE FROM cell WHERE trial = 2")
    suggest(study, 0, 2, {WIDTH: 16, SFP: 0.5}, left_out="generator.width was 16, which is not in the space any more")
    copied(study)
    run = runs(client, study)[1][2]
    assert tags(run, "stage", "left_out") == {
        "stage": "unplanned", "left_out": "generator.width was 16, which is not in the space any more",
    }  # fmt: skip


def test_a_search_can_be_read_back_whole_from_the_server(study, client):
    search(study)
    study.add("choice", ["baseline", 0, 0, "highest eval/psnr_db of 1", 0.0])
    copied(study)
    parent, _ = runs(client, study)
    for table in ("cell", "suggestion", "choice", "decision", "study"):
        rows = study.db.execute(f"SELECT * FROM {table}").fetchall()
        found = pd.read_parquet(artifact(client, parent, f"ledger/{table}.parquet"))
        assert [tuple(None if pd.isna(value) else value for value in row) for row in found.itertuples(index=False)] \
            == rows, table  # fmt: skip


# --- one copy, whatever happens ------------------------------------------------------------------------------


def contents(results):
    """Return every row of the store that a copy could change."""
    with sqlite3.connect(results / "mlflow.db") as db:
        tables = ("runs", "tags", "params", "metrics", "latest_metrics", "inputs", "datasets", "experiments")
        return {table: sorted(map(str, db.execute(f"SELECT * FROM {table}"))) for table in tables}


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


class Server:
    """`mlflow server` on a free port, on a copy of a store, so that it need not make one."""

    def __init__(self, folder, store):
        self.folder, self.process = folder, None
        with sqlite3.connect(store) as source, sqlite3.connect(folder / "served.db") as target:
            source.backup(target)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self):
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / 'served.db'}", "--workers", "1"]
        command += ["--artifacts-destination", str(self.folder / "served")]
        log = (self.folder / "server.log").open("ab")
        self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True)

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def wait_for(true, seconds):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.1)


@pytest.fixture
def server(tmp_path, results):
    server = Server(tmp_path, results / "mlflow.db")
    server.start()
    yield server
    server.kill()


def progress(study):
    path = study.folder / "mirror.json"
    return json.loads(path.read_text()) if path.exists() else {"copied": 0, "error": None}


def follower(study, *arguments):
    command = [sys.executable, "-m", "platform.mirror", str(study.folder), "--follow", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


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
    wait_for(lambda: 2 in runs(client, study)[1], 20)
    following.send_signal(signal.SIGTERM)
    assert following.wait(20) == 1
    assert "was stopped" in following.stderr.read()
    study.do("UPDATE trial SET state = 'COMPLETED', ended = ? WHERE number = 2", BEGUN + 300)
    study.end()
    copied(study, "--follow")
    parent, children = runs(client, study)
    assert [run.info.status for run in (parent, children[1], children[2])] == ["FINISHED"] * 3
