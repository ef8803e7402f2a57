"""A study read back from a real MLflow store that the mirror filled: everything equals what the folder gives."""

import json
import re
import shutil
import sqlite3
import time
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from analysis import schema
from analysis.errors import StudyError
from analysis.frames import load_images
from analysis.mlflow_source import fetch_study
from analysis.report import main, write_report
from platform import mirror
from tests.analysis.synthetic import LEAVE_ONE_OUT, Plan, write_study
from tests.analysis.synthetic_search import TWO, add_search, ordinary
from tests.platform.mirrored import Server

ENDS = {
    ("no_attention", 2): ("DIVERGED", None, "step 200: flat\n\nTraceback"),
    ("no_local_sfp", 3): ("RUNNING", None, None),
    ("no_relativistic", 3): ("PLANNED", None, None),
    ("no_global_sfp", 1): ("FAILED", "memory", "out of memory"),
}
SETTINGS = {"steps": 400, "loss": {"sfp_global": 1.0}, "local": {"patches": 2, "patch_px": 16}}
EVENTS = [
    ("no_attention", 2, 150, "collapse", "output", 0.1, "step 150: flat"),
    ("no_local_sfp", 3, 50, "spike", "global", 9.0, "step 50: a spike"),
]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One store for all tests, since MLflow takes seconds to make one: two studies of one experiment, and a search."""
    folder = tmp_path_factory.mktemp("results")
    write_study(folder / "mixed", Plan(ends=ENDS, events=EVENTS, defects=True, model=True))
    write_study(folder / "other", Plan(variants=LEAVE_ONE_OUT[:2], seeds=(1,), pictures=False))
    few = [one for one in LEAVE_ONE_OUT if one.name in ("baseline", *TWO)]
    add_search(write_study(folder / "search", Plan(variants=few, pictures=False)), ordinary())
    with sqlite3.connect(folder / "search" / "ledger.db") as db:  # whole settings, of which the mirror shows some
        db.execute("UPDATE trial SET settings = ?", [json.dumps(SETTINGS)])
    for name, experiment in (("mixed", "both"), ("other", "both"), ("search", "search")):
        assert mirror.main([str(folder / name), "--experiment", experiment]) == 0
    return folder


@pytest.fixture
def uri(results):
    return f"sqlite:///{results / 'mlflow.db'}"


@pytest.fixture
def copy(results, tmp_path):
    """Return a copy of the store that a test may damage, with what MLflow's client can do, and the run of `other`."""
    store = tmp_path / "mlflow.db"
    with sqlite3.connect(results / "mlflow.db") as source, sqlite3.connect(store) as target:
        source.backup(target)
        artifacts = tmp_path / "mlartifacts"
        shutil.copytree(results / "mlartifacts", artifacts)
        target.execute(
            "UPDATE runs SET artifact_uri = replace(artifact_uri, ?, ?)", [str(results / "mlartifacts"), str(artifacts)]
        )
    client = MlflowClient(f"sqlite:///{store}")
    known = client.get_experiment_by_name("both").experiment_id
    return client, client.search_runs([known], "tags.study = 'other' AND tags.trials LIKE '%'")[0]


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows(folder):
    """Return every row of a ledger, the place of its files apart."""
    with sqlite3.connect(folder / "ledger.db") as db:
        db.execute("CREATE TEMP VIEW known AS SELECT * FROM study WHERE key <> 'storage'")
        names = {table: "known" if table == "study" else table for table in schema.TABLES}
        return {table: sorted(map(repr, db.execute(f"SELECT * FROM {name}"))) for table, name in names.items()}


@pytest.mark.parametrize(("name", "experiment"), [("mixed", "both"), ("search", "search")])
def test_the_report_from_a_server_is_the_one_from_the_folder_byte_for_byte(results, uri, tmp_path, name, experiment):
    write_report(results / name, tmp_path / "folder")
    asked = ["--mlflow", uri, "--experiment", experiment, *([name] if experiment == "both" else [])]
    away = (results / name / "storage").rename(tmp_path / "away") if name == "mixed" else None
    try:
        assert main([*asked, "--out", str(tmp_path / "server")]) == 0
    finally:
        if away:
            away.rename(results / name / "storage")
    assert files(tmp_path / "server") == files(tmp_path / "folder")
    pictured = len(re.findall("data:image/jpeg", (tmp_path / "server" / "index.html").read_text()))
    assert (pictured > 0) == (name == "mixed")


@pytest.mark.parametrize(("name", "experiment"), [("mixed", "both"), ("search", "search")])
def test_the_ledger_that_is_made_again_has_every_row(results, uri, tmp_path, name, experiment):
    found = rows(fetch_study(uri, tmp_path / "back", experiment=experiment, study=name).folder)
    expected = rows(results / name)
    assert all(expected[table] for table in ("trial", "step", "report", "image", "event") if name == "mixed")
    for table in schema.TABLES:
        assert found[table] == expected[table], table


@pytest.mark.slow
def test_a_server_over_http_gives_the_same_rows_and_pictures(results, tmp_path):
    server = Server(tmp_path, results / "mlflow.db")
    server.start()
    try:
        until = time.monotonic() + 120
        while mirror.main([str(results / "mixed"), "--uri", server.uri, "--experiment", "served"]):
            assert time.monotonic() < until, "waited in vain"
        fetched = fetch_study(server.uri, tmp_path / "back", experiment="served")
        trial = load_images(fetched.folder)["trial"].iloc[0]
        fetched.bring([trial])
    finally:
        server.kill()
    assert rows(fetched.folder) == rows(results / "mixed")
    mine, theirs = (
        {name: data for name, data in files(place / "storage").items() if trial in name or "references" in name}
        for place in (fetched.folder, results / "mixed")
    )
    assert mine == theirs
    assert mine


# --- what is not there is said -------------------------------------------------------------------------------


def test_a_store_that_does_not_exist_is_named_and_not_made(tmp_path):
    with pytest.raises(StudyError, match=r"expected an MLflow store, but there is no file .*gone\.db"):
        fetch_study(f"sqlite:///{tmp_path / 'gone.db'}", tmp_path / "back", experiment="both")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("driver", "name", "said"),
    [
        ("sqlite", "ledger.db", "it has no table of experiments"),
        ("sqlite+pysqlite", "ledger.db", "it has no table of experiments"),
        ("sqlite", "empty", "it has no table of experiments"),
        ("sqlite", "text", "cannot be read: file is not a database"),
    ],
)
def test_a_file_that_is_no_store_is_said_so_and_not_made_one(results, tmp_path, capsys, driver, name, said):
    file = shutil.copy(results / "other" / "ledger.db", tmp_path / name)
    if name != "ledger.db":
        file.write_text("" if name == "empty" else "no database " * 100)
    before = file.read_bytes()
    asked = ["--mlflow", f"{driver}:///{file}", "--experiment", "both", "--out", str(tmp_path / "out")]
    assert main(asked) == 2
    assert said in capsys.readouterr().err
    assert file.read_bytes() == before


def test_a_database_that_refuses_is_said_in_a_sentence(copy, tmp_path):
    store = shutil.copy(tmp_path / "mlflow.db", tmp_path / "refusing.db")  # MLflow keeps what it knows of a store
    with sqlite3.connect(store) as db:
        db.execute("DROP TABLE alembic_version")
        db.execute("CREATE VIEW alembic_version AS SELECT no_such_column FROM experiments")
    with pytest.raises(StudyError, match=r"cannot be read: .*no_such_column"):
        fetch_study(f"sqlite:///{store}", tmp_path / "back", experiment="both")


def test_a_server_that_does_not_answer_is_named_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StudyError, match=r"MLflow at http://me:\*\*\*@127\.0\.0\.1:1 cannot be read") as caught:
        fetch_study("http://me:secret@127.0.0.1:1", tmp_path / "back", experiment="both")
    assert "secret" not in str(caught.value)


def test_an_unknown_experiment_is_answered_with_those_that_exist(uri, tmp_path):
    with pytest.raises(StudyError, match=r"no experiment 'bth'; there are .*both"):
        fetch_study(uri, tmp_path / "back", experiment="bth")


def test_of_several_studies_in_an_experiment_one_has_to_be_named(uri, tmp_path, capsys):
    with pytest.raises(StudyError, match=r"expected one study in the experiment 'both', got 2; there are .*mixed of"):
        fetch_study(uri, tmp_path / "back", experiment="both")
    assert main(["--mlflow", uri, "--experiment", "both", "--out", str(tmp_path / "out")]) == 2
    assert "name one, by its name or the id of its run" in capsys.readouterr().err


def test_a_study_is_found_by_its_runs_id(copy, tmp_path):
    client, parent = copy
    fetched = fetch_study(client.tracking_uri, tmp_path / "back", experiment="both", study=parent.info.run_id)
    assert len(load_images(fetched.folder)) == 4


def test_two_studies_of_one_name_are_told_apart_by_their_runs_and_one_is_no_two(uri, tmp_path, capsys):
    for place in ("a", "b"):
        folder = write_study(tmp_path / place / "same", Plan(variants=LEAVE_ONE_OUT[:2], pictures=False))
        with sqlite3.connect(folder / "ledger.db") as db:
            db.execute("UPDATE spec SET at = at + ?", [place == "b"])
        assert mirror.main([str(folder), "--uri", uri, "--experiment", "twins"]) == 0
    client = MlflowClient(uri)
    twins = client.get_experiment_by_name("twins").experiment_id
    ids = [run.info.run_id for run in client.search_runs([twins], "tags.trials LIKE '%'")]
    asked = ["--mlflow", uri, "--experiment", "twins"]
    for out in ("once", "again"):
        assert main([*asked, *ids, "--out", str(tmp_path / out)]) == 0
    assert files(tmp_path / "once") == files(tmp_path / "again")
    assert set(pd.read_csv(tmp_path / "once" / "studies.csv")["study"]) == {f"same (run {one})" for one in ids}
    capsys.readouterr()
    assert main([*asked, ids[0], ids[0], "--out", str(tmp_path / "twice")]) == 2
    assert f"same is named twice (run {ids[0]} and run {ids[0]})" in capsys.readouterr().err


def damaged_running(client, parent):
    client.update_run(parent.info.run_id, status="RUNNING")


def damaged_trial_gone(client, parent):
    (run, _) = client.search_runs([parent.info.experiment_id], "tags.study = 'other' AND tags.trial LIKE '%'")
    client.delete_run(run.info.run_id)


def damaged_trial_of_another_moment(client, parent):
    (run, _) = client.search_runs([parent.info.experiment_id], "tags.study = 'other' AND tags.trial LIKE '%'")
    client.set_terminated(run.info.run_id, "FINISHED", 1)


def damaged_curves_of_another_training(client, parent):
    (one, two) = client.search_runs([parent.info.experiment_id], "tags.study = 'other' AND tags.trial LIKE '%'")
    shutil.copy(Path(one.info.artifact_uri) / "curves.parquet", Path(two.info.artifact_uri) / "curves.parquet")


def damaged_curves_cut_short(client, parent):
    (run, _) = client.search_runs([parent.info.experiment_id], "tags.study = 'other' AND tags.trial LIKE '%'")
    path = Path(run.info.artifact_uri) / "curves.parquet"
    curves = pd.read_parquet(path)
    curves[curves["step"] < curves["step"].max()].to_parquet(path, index=False)


def damaged_table_gone(client, parent):
    (Path(parent.info.artifact_uri) / "ledger" / "step.parquet").unlink()


def damaged_table(client, parent):
    (Path(parent.info.artifact_uri) / "ledger" / "cell.parquet").write_text("no table")


def damaged_scores_gone(client, parent):
    (run, _) = client.search_runs([parent.info.experiment_id], "tags.study = 'other' AND tags.trial LIKE '%'")
    (Path(run.info.artifact_uri) / "image_scores.parquet").unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (damaged_running, "other is still being trained or copied"),
        (damaged_trial_gone, r"the trial 0{31}\d has no run; .*platform\.mirror"),
        (damaged_trial_of_another_moment, r"the run of the trial 0{31}\d is of another moment"),
        (damaged_curves_of_another_training, r"the curves of the trial 0{31}\d are of another moment"),
        (damaged_curves_cut_short, r"the curves of the trial 0{31}\d are of another moment"),
        (damaged_table_gone, "it lacks the tables step"),
        (damaged_table, r"ledger/cell\.parquet cannot be read"),
        (damaged_scores_gone, r"image_scores\.parquet is missing"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_study_that_is_not_whole_there_is_no_study_with_less(copy, tmp_path, damage, said):
    client, parent = copy
    damage(client, parent)
    with pytest.raises(StudyError, match=said):
        fetch_study(client.tracking_uri, tmp_path / "back", experiment="both", study="other")
    assert not (tmp_path / "back" / "ledger.db").exists()


def test_a_folder_that_holds_a_study_is_not_read_into(results, uri):
    with pytest.raises(StudyError, match="expected a new folder to read a study into, but it holds a ledger"):
        fetch_study(uri, results / "other", experiment="search")


@pytest.mark.parametrize("path", ["../../escaped.png", "/tmp/escaped.png"])
def test_a_picture_is_never_written_outside_the_storage(uri, tmp_path, path):
    fetched = fetch_study(uri, tmp_path / "a" / "back", experiment="both", study="mixed")
    with sqlite3.connect(fetched.folder / "ledger.db") as db:
        db.execute("UPDATE reference_picture SET path = ? WHERE method = 'gain'", [path])
        ours = db.execute("SELECT path FROM reference_picture WHERE method = 'gamma'").fetchone()[0]
    fetched.bring([])
    assert (fetched.folder / "storage" / ours).is_file()
    assert not list(tmp_path.rglob("escaped*"))
    assert not Path("/tmp/escaped.png").exists()
