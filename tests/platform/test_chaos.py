"""A study killed again and again ends as one that was not; and what compares the two sees what is wrong.

The long version is `python -m tests.platform.chaos`.
"""

import shutil
import sqlite3
from collections import Counter

import pytest
from mlflow.tracking import MlflowClient

from platform import mirror, mirror_artifacts
from tests.platform import chaos, chaos_checks
from tests.platform.chaos_targets import TARGETS
from tests.platform.simulated import rows, run, study


@pytest.mark.timeout(900)
def test_killed_four_times_a_study_ends_as_if_it_had_not_been(tmp_path):
    told = chaos.run("one", 4, 4, tmp_path)
    assert told["wrong"] == []
    died = "the Ray node that this sweep belongs to died; what is done is kept, the same command goes on"
    assert told["said"] == {died: 1}
    assert told["hits"] == dict.fromkeys(("driver", "worker", "node", "server"), 1)
    assert sum(count for outcome, count in told["attempts"].items() if outcome != "COMPLETED") >= 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("which", chaos.STUDIES)
def test_killed_eight_times_every_kind_of_study_ends_as_if_it_had_not_been(tmp_path, which):
    told = chaos.run(which, 8, 2, tmp_path)
    assert told["wrong"] == []
    assert sum(told["hits"].values()) == 8
    assert set(told["hits"]) == set(TARGETS)


def test_the_kills_are_the_same_for_a_seed_and_take_the_targets_in_turn():
    kills = chaos.plan(20, 3)
    assert kills == chaos.plan(20, 3) != chaos.plan(20, 4)
    assert min(Counter(kill.target for kill in kills).values()) >= 2
    assert [kill.target for kill in kills[:6]] == list(TARGETS)
    assert [kill.at for kill in kills] == sorted(kill.at for kill in kills)
    assert {kill.moment for kill in kills} == set(chaos.SPAN_S)
    assert not any(kill.target == "worker" and kill.moment in ("start", "report") for kill in kills)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A study that has ended; simulated, with a driver that has."""
    folder = tmp_path_factory.mktemp("ended")
    return run(study(folder, search=None, components={"attention": {"generator.attention": "none"}}), folder / "study")


@pytest.fixture
def pair(ended, tmp_path):
    """Two copies of it: one to be spoiled."""
    for name in ("one", "other"):
        shutil.copytree(ended, tmp_path / name)
    return tmp_path / "one", tmp_path / "other"


def change(folder, statement):
    db = sqlite3.connect(folder / "ledger.db")
    with db:
        assert db.execute(statement).rowcount == 1
    db.close()


def test_equal_studies_do_not_differ_though_their_times_do(pair):
    change(pair[0], "UPDATE step SET at = at + 1, seconds = seconds + 1 WHERE trial = 1 AND step = 10")
    assert chaos_checks.differences(*pair) == []


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("UPDATE report SET value = value + 1e-12 WHERE trial = 1 AND step = 10 AND metric = 'eval/niqe'", "report"),
        ("DELETE FROM step WHERE trial = 2 AND step = 20", "step"),
        ("UPDATE suggestion SET params = '{}' WHERE variant = 'baseline' AND number = 3", "suggestion"),
        ("UPDATE trial SET state = 'FAILED' WHERE number = 1", "trial"),
    ],
)
def test_one_row_that_differs_is_named(pair, statement, table):
    change(pair[0], statement)
    assert f"table {table}: " in chaos_checks.differences(*pair)[-1] + chaos_checks.differences(*pair)[0]


def test_files_of_the_report_are_compared_without_their_times(pair):
    for folder, seconds, value in ((pair[0], 1, 2), (pair[1], 3, 2)):
        (folder / "report").mkdir()
        (folder / "report" / "trials.csv").write_text(
            f"trial,seconds,time/step_s,eval/niqe\n1,{seconds},{seconds},{value}\n"
        )
    assert chaos_checks.differences(*pair) == []
    (pair[0] / "report" / "trials.csv").write_text("trial,seconds,time/step_s,eval/niqe\n1,1,1,2.0000001\n")
    assert chaos_checks.differences(*pair) == ["report/trials.csv: 2 rows for 2, ['1', '2.0000001'] for ['1', '2']"]
    (pair[0] / "report" / ".trials.csv.4711").write_text("")
    assert chaos_checks.leftovers(pair[0]) == ["scratch file report/.trials.csv.4711"]


def test_what_was_left_of_a_report_by_a_kill_is_not_copied_to_mlflow(tmp_path):
    (tmp_path / "index.html").write_text("whole")
    whole = mirror_artifacts.digest(tmp_path)
    (tmp_path / ".index.html.4711").write_text("ha")
    assert mirror_artifacts.digest(tmp_path) == whole


def test_a_trial_trained_twice_or_from_before_its_checkpoint_is_named(ended, pair):
    (trial, begun), *_ = rows(ended, "SELECT id, attempt.started FROM attempt JOIN trial ON trial.number = trial")
    assert chaos_checks.ledger_faults(pair[0], [(begun + 1, {trial: 10})]) == []
    assert chaos_checks.ledger_faults(pair[0], [(begun - 1, {trial: 10})]) == [
        f"kill 1: {trial} had reported step 10 and went on from step 0"
    ]
    change(pair[0], "INSERT INTO attempt SELECT trial, 2, driver, started, ended, 10, outcome, record "
           "FROM attempt WHERE trial = 1")  # fmt: skip
    assert chaos_checks.ledger_faults(pair[0], []) == [f"{trial} was trained to its end twice"]


def test_a_run_too_many_a_status_or_a_value_of_another_kind_is_named(pair):
    uri = f"sqlite:///{pair[0].parent / 'store.db'}"
    assert mirror.main([str(pair[0]), "--uri", uri, "--experiment", pair[0].name]) == 0
    assert chaos_checks.mlflow_faults(pair[0], uri) == []
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(pair[0].name).experiment_id
    run = client.search_runs([experiment], "tags.variant = 'baseline'", max_results=1)[0]
    client.update_run(run.info.run_id, status="RUNNING")
    trial = run.data.tags["trial"]
    assert chaos_checks.mlflow_faults(pair[0], uri) == [f"MLflow: {trial} is RUNNING, in the ledger COMPLETED"]
    client.set_terminated(run.info.run_id)
    client.log_metric(run.info.run_id, "eval/niqe", 99.0, step=100)
    assert "eval/niqe is 99.0, in the ledger" in chaos_checks.mlflow_faults(pair[0], uri)[0]
    client.create_run(experiment, tags={"trial": trial, "mlflow.parentRunId": "x"})
    assert f"MLflow: 2 runs of {trial}" in chaos_checks.mlflow_faults(pair[0], uri)
