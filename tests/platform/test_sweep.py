"""The command, as a user calls it: real Ray, real MLflow, crops of real photographs, a small EnlightenGAN."""

import hashlib
import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from mlflow.tracking import MlflowClient

import analysis
from platform.plan import cells
from platform.spec_file import read
from platform.sweep import main
from trials import images, photos

ROOT = Path(__file__).parents[2]

SPEC = """\
study: tiny
data:
  source: folders
  low: low
  normal: normal
  evaluate: {crops: {low: eval/low, normal: eval/normal}}
train:
  steps: 6
  evaluate_every: 2
  batch: 2
  crop_px: 32
  pairing: independent
  generator: {width: 2}
  global: {layers: 2, width: 4}
  local: {layers: 2, width: 4, patches: 2, patch_px: 16}
  vgg: {weights: random, layer: relu1_1}
  optimiser: {learning_rate: 1e-3, epoch_steps: 1}
components:
  attention: {generator.attention: none}
seeds: 3
analysis: {at: last 2 evaluations, matters: {eval/psnr_db: 0.5}}
"""


def command(folder, *arguments):
    asked = ["-m", "platform.sweep", str(folder / "spec.yaml"), "--results", str(folder / "results")]
    return [sys.executable, *asked, *arguments]


def sweep(folder, *arguments):
    return subprocess.run(command(folder, *arguments), cwd=ROOT, capture_output=True, text=True, timeout=280)


@pytest.fixture
def here(capsys):
    """Run the command in this process, which has loaded already what a new one takes seconds to."""

    def run(folder, *arguments):
        capsys.readouterr()
        status = main([*command(folder, *arguments)[3:]])
        return subprocess.CompletedProcess(arguments, status, *capsys.readouterr())

    return run


def lay_out(folder):
    """Write a spec, and crops of the bundled photographs as its images."""
    for name, where, side in (("coffee", "", 64), ("astronaut", "", 64), ("chelsea", "eval/", 192)):
        for kind, image in (("low", photos.darkened(name)), ("normal", photos.load(name))):
            (folder / where / kind).mkdir(parents=True, exist_ok=True)
            images.write(folder / where / kind / f"{name}.png", image[50 : 50 + side, 100 : 100 + side])
    (folder / "spec.yaml").write_text(SPEC)
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A study run once to its end; tests that change it work on a copy."""
    folder = lay_out(tmp_path_factory.mktemp("done"))
    finished = sweep(folder)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return folder, finished.stdout


def copied(done, tmp_path):
    shutil.copytree(done[0], tmp_path / "copy")
    return tmp_path / "copy"


def trained(study, variant):
    """Return the generator that a variant's first trial made."""
    trials = analysis.load_trials(study)
    return study / "trials" / trials.loc[trials["variant"] == variant, "trial"].iloc[0] / "generator.pt"


def files(folder):
    report = folder / "results" / "tiny" / "report"
    return {path.relative_to(report).as_posix(): path.read_bytes() for path in report.rglob("*") if path.is_file()}


def test_every_trial_has_a_result_and_the_frames_hold_it(done):
    study = done[0] / "results" / "tiny"
    trials = analysis.load_trials(study)
    assert list(trials["state"]) == ["COMPLETED"] * 6
    assert sorted(set(zip(trials["variant"], trials["seed"], strict=True))) == [
        (variant, seed) for variant in ("baseline", "no_attention") for seed in (1, 2, 3)
    ]
    scores = analysis.load_images(study)
    assert len(scores) == 6
    assert scores[["eval/psnr_db", "eval/ssim", "eval/niqe"]].notna().all(axis=None)
    assert set(analysis.load_references(study)["method"]) == {"input", "gain", "gamma"}
    assert sorted(analysis.load_curves(study)["step"].unique()) == [2, 4, 6]


def test_it_says_what_it_did_in_words(done):
    assert "2 variants x 3 seeds = 6 trials" in done[1]
    assert "without attention" in done[1]
    assert str(done[0] / "results" / "tiny" / "report" / "index.html") in done[1].replace("\n", "")


def test_mlflow_has_a_parent_and_a_finished_run_for_each_trial(done):
    client = MlflowClient(f"sqlite:///{done[0] / 'results' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert [run.info.status for run in parents] == ["FINISHED"]
    assert [run.info.status for run in children] == ["FINISHED"] * 6
    trials = analysis.load_trials(done[0] / "results" / "tiny").set_index("trial")
    for run in children:
        row = trials.loc[run.data.tags["trial"]]
        assert run.data.metrics["eval/psnr_db"] == pytest.approx(row["eval/psnr_db"])
        assert (run.data.tags["variant"], run.data.tags["seed"]) == (row["variant"], str(row["seed"]))
        assert run.data.params["generator.width"] == "2"
        assert {item.path for item in client.list_artifacts(run.info.run_id)} >= {"pictures", "checkpoint"}


def test_the_same_command_again_finds_nothing_to_do(done, tmp_path):
    folder = copied(done, tmp_path)
    before = files(folder)
    again = sweep(folder)
    assert again.returncode == 0
    assert "nothing to do, all 6 trials have a result" in again.stdout
    assert files(folder) == before
    subprocess.run([sys.executable, "-m", "analysis.report", str(folder / "results" / "tiny")], cwd=ROOT, check=True)
    assert files(folder) == before  # built again from the ledger: the same bytes


def test_one_more_seed_trains_only_what_is_missing_and_is_recorded(done, tmp_path):
    folder = copied(done, tmp_path)
    before = analysis.load_images(folder / "results" / "tiny")
    more = sweep(folder, "--set", "seeds=4", "--set", "data.evaluate.crops.scenes=(c)helsea")
    assert more.returncode == 0, more.stdout
    assert "8 trials, 6 of them have a result" in more.stdout
    assert "seeds: 3 became 4" in more.stdout
    with sqlite3.connect(folder / "results" / "tiny" / "ledger.db") as db:
        assert db.execute("SELECT count(*) FROM attempt").fetchone() == (8,)
    after = analysis.load_images(folder / "results" / "tiny")
    assert set(after["scene"]) == {"c"}  # images are grouped anew, though none is scored anew
    kept = after[after["seed"] < 4].reset_index(drop=True).drop(columns="scene")
    pd.testing.assert_frame_equal(kept, before.reset_index(drop=True).drop(columns="scene"))
    assert b"seeds: 3 became 4" in files(folder)["index.html"]
    with sqlite3.connect(folder / "results" / "tiny" / "ledger.db") as db:  # the copy stands on its own
        assert db.execute("SELECT value FROM study WHERE key = 'storage'").fetchone() == (
            f'"{folder / "results" / "tiny"}"',
        )


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def reports(folder):
    ledger = folder / "results" / "tiny" / "ledger.db"
    if not ledger.exists():
        return 0
    with sqlite3.connect(f"file:{ledger}?mode=ro", uri=True) as db:
        try:
            return db.execute("SELECT count(*) FROM step").fetchone()[0]
        except sqlite3.OperationalError:
            return 0


@pytest.mark.parametrize(
    ("number", "status"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        (signal.SIGTERM, 130),
        pytest.param(signal.SIGKILL, -9, marks=pytest.mark.slow),  # as does `test_chaos`, quickly
    ],
)
def test_a_study_cut_off_and_called_again_ends_in_the_same_tables(done, tmp_path, number, status):
    folder = lay_out(tmp_path)
    process = subprocess.Popen(command(folder), cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: reports(folder) >= 4)
    os.kill(process.pid, number)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == status
    if status == 130:
        assert "interrupted; what is done is kept. To go on: python -m platform.sweep" in said
    assert reports(folder) < 18
    again = sweep(folder)
    assert again.returncode == 0, again.stdout
    study, undisturbed = folder / "results" / "tiny", done[0] / "results" / "tiny"
    pd.testing.assert_frame_equal(analysis.load_images(study), analysis.load_images(undisturbed))
    curves = [analysis.load_curves(one) for one in (study, undisturbed)]
    kept = [column for column in curves[0] if not column.startswith("time/") and column not in ("at", "seconds")]
    pd.testing.assert_frame_equal(curves[0][kept], curves[1][kept])
    client = MlflowClient(f"sqlite:///{folder / 'results' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    assert sorted(run.info.status for run in runs) == ["FINISHED"] * 7


def test_a_full_disk_ends_the_sweep_with_a_sentence_and_the_same_command_goes_on(tmp_path):
    folder = lay_out(tmp_path)
    study = read(folder / "spec.yaml")
    first = cells(study, study.trainer.digest(study.data))[0].trial
    trial = folder / "results" / "tiny" / "trials" / first
    (trial / "pictures" / "crops").mkdir(parents=True)
    picture = trial / "pictures" / "crops" / ".chelsea.png.part"  # of the last step; who fails to write it removes it
    picture.symlink_to("/dev/full")
    full = sweep(folder)
    assert full.returncode == 1, full.stdout + full.stderr
    storage = folder / "results" / "tiny"
    assert f"the storage {storage} is full (OSError: [Errno 28] No space left on device" in full.stdout
    assert "make room, then the same command goes on" in full.stdout
    assert "FAILED" not in full.stdout
    again = sweep(folder)
    assert again.returncode == 0, again.stdout + again.stderr
    with sqlite3.connect(storage / "ledger.db") as db:
        attempts = db.execute(
            "SELECT resumed_step, outcome FROM attempt JOIN trial ON trial = trial.number WHERE id = ?", [first]
        )
        assert attempts.fetchall() == [(0, "disk"), (4, "COMPLETED")]
        assert db.execute("SELECT DISTINCT state FROM trial").fetchall() == [("COMPLETED",)]


def test_a_full_disk_while_references_are_scored_is_a_sentence(done, tmp_path, here):
    folder = copied(done, tmp_path)
    study = folder / "results" / "tiny"
    shutil.copy(trained(study, "baseline"), folder / "mine.pt")
    pictures = study / "references" / "mine" / "crops"
    pictures.mkdir(parents=True)
    for name in ("chelsea.png", ".chelsea.png.part"):  # aside first, or not
        (pictures / name).symlink_to("/dev/full")
    full = here(folder, "--set", f"reference.mine={folder / 'mine.pt'}")
    assert full.returncode == 1
    assert f"the storage {study} is full ([Errno 28] No space left on device" in full.stdout
    assert "Traceback" not in full.stdout + full.stderr


def test_a_variant_that_does_not_fit_its_files_is_named_with_its_line_before_anything_is_made(done, tmp_path, here):
    folder = lay_out(tmp_path)
    weights = trained(done[0] / "results" / "tiny", "baseline")
    (folder / "spec.yaml").write_text(
        SPEC.replace("attention: {generator.attention: none}", "wide: {generator.width: 4}")
    )
    wrong = here(folder, "--dry-run", "--set", f"train.init={weights}")
    assert wrong.returncode == 2, wrong.stdout + wrong.stderr
    assert "spec.yaml: 1 problem\n" in wrong.stdout
    assert f"line 19, components.wide: `no_wide` cannot be trained: train.init: {weights}" in wrong.stdout
    larger = here(folder, "--dry-run", "--set", "components.crops={crop_px: 96}")
    assert larger.returncode == 2
    assert "line 18, components.crops: `no_crops` cannot be trained: data.low: " in larger.stdout
    assert "smaller than crop_px = 96" in larger.stdout
    assert not (folder / "results").exists()


def test_weights_that_moved_with_the_same_content_are_no_deviation_and_train_nothing(done, tmp_path, here):
    folder = lay_out(tmp_path)
    for place in ("here", "there"):
        (folder / place).mkdir()
        for suffix in ("pt", "json"):
            shutil.copy(trained(done[0] / "results" / "tiny", "baseline").with_suffix(f".{suffix}"), folder / place)
    text = SPEC.replace("attention: {generator.attention: none}", "sfp: {loss.sfp_local: 0}").replace(
        "seeds: 3", "seeds: 1"
    )
    (folder / "spec.yaml").write_text(text.replace("train:", "train:\n  init: here/generator.pt"))
    started = sweep(folder)
    assert started.returncode == 0, started.stdout + started.stderr
    shutil.rmtree(folder / "here")
    moved = here(folder, "--set", f"train.init={folder / 'there' / 'generator.pt'}")
    assert "nothing to do, all 2 trials have a result" in moved.stdout
    assert "changed after the first trial" not in moved.stdout
    gone = here(folder)
    assert gone.returncode == 2
    assert f"train.init: {folder / 'here' / 'generator.pt'}: " in gone.stdout


def test_a_dry_run_shows_the_design_and_makes_nothing(tmp_path, here):
    folder = lay_out(tmp_path)
    shown = here(folder, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "no_attention" in shown.stdout
    assert "without effect, too, in no_attention: generator.attend\n" in shown.stdout
    assert "6 trials (seeds 1, 2, 3), 6 still to train" in shown.stdout
    assert not (folder / "results").exists()


def test_a_wrong_spec_ends_with_status_2_and_makes_nothing(tmp_path, here):
    folder = lay_out(tmp_path)
    wrong = here(folder, "--set", "train.stepz=1", "--set", "data.low=none")
    assert wrong.returncode == 2
    assert "train.stepz: unknown key; did you mean `steps`?" in wrong.stdout
    assert not (folder / "results").exists()


def test_an_empty_folder_of_images_ends_with_status_2(tmp_path, here):
    folder = lay_out(tmp_path)
    (folder / "empty").mkdir()
    wrong = here(folder, "--set", f"data.low={folder / 'empty'}")
    assert wrong.returncode == 2
    assert str(folder / "empty") in wrong.stdout
    assert not (folder / "results").exists()


def test_a_ray_client_address_is_refused_in_one_sentence(tmp_path, here):
    refused = here(lay_out(tmp_path), "--address", "ray://head:10001")
    assert refused.returncode == 1
    assert "the driver must be a node of the cluster" in refused.stdout


def methods(folder):
    found = analysis.load_references(folder / "results" / "tiny")
    return dict(zip(found["method"], found["weights"], strict=True))


def test_a_trained_model_is_scored_once_again_when_its_file_changes_and_goes_with_its_name(done, tmp_path, here):
    folder = copied(done, tmp_path)
    trained = sorted((folder / "results" / "tiny" / "trials").glob("*/generator.pt"))
    shutil.copy(trained[0], folder / "mine.pt")
    asked = ("--set", f"reference.mine={folder / 'mine.pt'}")
    first = here(folder, *asked)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "nothing to do, all 6 trials have a result" in first.stdout
    assert "scoring mine" in first.stdout
    scored = methods(folder)
    assert scored["mine"] == hashlib.sha256((folder / "mine.pt").read_bytes()).hexdigest()
    report = files(folder)
    assert b"trained elsewhere: mine" in report["index.html"]
    assert b"changed after the first trial" not in report["index.html"]
    client = MlflowClient(f"sqlite:///{folder / 'results' / 'mlflow.db'}")
    again = here(folder, *asked)
    assert "scoring" not in again.stdout
    assert files(folder) == report

    shutil.copy(trained[1], folder / "mine.pt")
    changed = here(folder, *asked)
    assert "scoring mine" in changed.stdout
    assert methods(folder)["mine"] not in (None, scored["mine"])
    assert files(folder)["index.html"] != report["index.html"]
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert methods(folder)["mine"] in parent.data.tags["references"]

    (folder / "mine.pt").unlink()
    kept = methods(folder)
    without = here(folder, *asked)
    assert without.returncode == 0, without.stdout + without.stderr
    assert f"mine: the file {folder / 'mine.pt'} is gone; its recorded scores are kept" in without.stdout
    assert "nothing to do, all 6 trials have a result" in without.stdout
    assert "scoring" not in without.stdout
    assert methods(folder) == kept
    scored_image = folder / "eval" / "low" / "chelsea.png"
    content = scored_image.read_bytes()
    images.write(scored_image, 255 - images.read(scored_image))
    other = here(folder, *asked)
    assert other.returncode == 2
    assert "reference.mine: expected a file of weights" in other.stdout
    assert "the scores recorded are of other images or another version" in other.stdout
    scored_image.write_bytes(content)
    mistyped = here(folder, "--set", f"reference.mine={folder / 'mien.pt'}")  # never scored: its scores are not those
    assert mistyped.returncode == 2
    assert f"reference.mine: expected a file of weights, but there is no file {folder / 'mien.pt'}" in mistyped.stdout

    gone = here(folder)
    assert "scoring" not in gone.stdout
    assert set(methods(folder)) == {"input", "gain", "gamma"}
    assert b"mine" not in files(folder)["variants.csv"]
    with sqlite3.connect(folder / "results" / "tiny" / "ledger.db") as db:
        assert db.execute("SELECT count(*) FROM attempt").fetchone() == (6,)  # no trial was trained again


def test_a_reference_whose_output_is_not_finite_is_named(done, tmp_path, here):
    folder = copied(done, tmp_path)
    whole = trained(folder / "results" / "tiny", "baseline")
    shutil.copy(whole, folder / "mine.pt")
    shutil.copy(whole.with_suffix(".json"), folder / "mine.json")
    state = torch.load(folder / "mine.pt", weights_only=True)
    torch.save(
        {
            name: torch.full_like(value, math.nan) if value.is_floating_point() else value
            for name, value in state.items()
        },
        folder / "mine.pth",
    )
    wrong = here(
        folder, "--set", f"reference.whole={folder / 'mine.pt'}", "--set", f"reference.broken={folder / 'mine.pth'}"
    )
    assert wrong.returncode == 2
    assert f"reference.broken: {folder / 'mine.pth'}: the generator's output is not finite" in wrong.stdout


def test_a_file_that_holds_no_weights_ends_with_status_2_and_names_the_reference(done, tmp_path, here):
    folder = copied(done, tmp_path)
    (folder / "broken.pt").write_bytes(b"no weights")
    wrong = here(folder, "--set", f"reference.broken={folder / 'broken.pt'}")
    assert wrong.returncode == 2
    assert "reference.broken: " in wrong.stdout
    assert str(folder / "broken.pt") in wrong.stdout.replace("\n", "")


def test_another_storage_is_refused_while_the_files_lie_in_the_old_one(done, tmp_path, here):
    folder = copied(done, tmp_path)
    found = here(folder, "--storage", str(tmp_path / "typo"))
    assert found.returncode == 1
    assert f"lie in {folder / 'results' / 'tiny'}, and none in {tmp_path / 'typo' / 'tiny'}" in found.stdout
    assert not (tmp_path / "typo").exists()


def test_retrying_where_nothing_has_failed_says_so(done, tmp_path, here):
    found = here(copied(done, tmp_path), "--retry", "failed")
    assert found.returncode == 0
    assert "no trial has FAILED" in found.stdout
    assert "nothing to do" in found.stdout
