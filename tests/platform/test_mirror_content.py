"""What the runs of a study and of its trials say."""

import json
import math

import pandas as pd
import pytest

from analysis.schema import COMPLETED, DIVERGED, FAILED, PLANNED, RUNNING, STOPPED
from platform.mirror_content import flat, status
from platform.mirror_ledger import Begun
from tests.platform.mirrored import BEGUN, artifact, client, copied, points, results, runs, study

__all__ = ["client", "results", "study"]  # fixtures


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
