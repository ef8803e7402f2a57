"""The command with a search, as a user calls it: real Ray, real MLflow, crops of real photographs, a small trainer."""

import os
import re
import signal
import subprocess

import pytest
from mlflow.tracking import MlflowClient

import analysis
from tests.platform.simulated import everything, rows, states
from tests.platform.test_sweep import ROOT, command, lay_out, reports, sweep, wait_for
from trials import images, photos

SEARCH = """
search:
  trials: 5
  space:
    loss.sfp_global: {float: [0.1, 3], log: true}
    local.patches: {int: [1, 3]}
  scheduler: {asha: {first_rung: 2, reduction: 2}}
confirm: {seeds: 2}
"""


def laid_out(folder):
    """Write a spec with a search, that runs one trial at a time, and images that confirm."""
    lay_out(folder)
    for kind, image in (("low", photos.darkened("china")), ("normal", photos.load("china"))):
        (folder / "fresh" / kind).mkdir(parents=True)
        images.write(folder / "fresh" / kind / "china.png", image[50:242, 100:292])
    spec = (folder / "spec.yaml").read_text().replace("seeds: 3\n", "seeds: 1\nresources: {cpu: 2}\n")
    fresh = "  confirm: {china: {low: fresh/low, normal: fresh/normal}}\ntrain:"
    (folder / "spec.yaml").write_text(spec.replace("train:", fresh) + SEARCH)
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A study with a search, run once to its end, and what it said."""
    folder = laid_out(tmp_path_factory.mktemp("searched"))
    finished = sweep(folder)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return folder, finished.stdout


def test_the_plan_is_said_first_and_the_searches_have_equal_budgets(done):
    folder, said = done
    plan = said.index("at most 16 trials: 2 at the spec's settings, 10 of the search, 4 to confirm")
    assert plan < said.index("Promised and confirmed")
    study = folder / "results" / "tiny"
    counts = states(study)
    for variant in ("baseline", "no_attention"):
        assert sum(count for (name, _), count in counts.items() if name == variant) == 5
        assert states(study, "confirm")[variant, "COMPLETED"] == 2
    assert any(state == "STOPPED" for _, state in counts)
    assert re.search(r"full model +5 of 5 +5 ", said)


def test_what_confirms_is_scored_on_images_that_the_search_never_saw(done):
    images = analysis.load_images(done[0] / "results" / "tiny")
    assert set(images.loc[images["stage"] == "search", "set"]) == {"crops"}
    assert set(images.loc[images["stage"] == "confirm", "set"]) == {"crops", "china"}
    assert set(images.loc[images["stage"] == "confirm", "seed"]) == {2, 3}
    promised = (done[0] / "results" / "tiny" / "report" / "promised.csv").read_text()
    assert "baseline" in promised


def test_a_stopped_trial_ends_at_a_rung_and_its_worker_goes_on(done):
    study = done[0] / "results" / "tiny"
    last = "(SELECT max(step) FROM step WHERE trial = number)"
    query = f"SELECT rung, what FROM trial JOIN decision ON trial = number WHERE state = 'STOPPED' AND rung = {last}"
    found = rows(study, query)
    assert found
    assert {step for step, _ in found} <= {2, 4}
    assert {what for _, what in found} == {"stop"}


def test_the_mirror_tells_a_search_from_its_confirmation(done):
    client = MlflowClient(f"sqlite:///{done[0] / 'results' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    names = [run.info.run_name for run in runs]
    assert len(names) == 1 + len({trial for (trial,) in rows(done[0] / "results" / "tiny", "SELECT trial FROM cell")})
    assert sum("· confirm ·" in name for name in names) == 4
    assert any("· search" in name for name in names)
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_the_same_command_again_finds_nothing_to_do(done):
    again = sweep(done[0])
    assert again.returncode == 0
    assert "tiny: nothing to do, all" in again.stdout


@pytest.mark.slow
def test_kill_9_at_five_moments_and_the_search_is_the_same_as_undisturbed(tmp_path, done):
    folder = laid_out(tmp_path)
    for count in (1, 5, 12, 20, 28):
        process = subprocess.Popen(command(folder), cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
        wait_for(lambda least=count: reports(folder) >= least)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    again = sweep(folder)
    assert again.returncode == 0, again.stdout
    first, killed = (everything(one / "results" / "tiny") for one in (done[0], folder))
    for table in ("suggestion", "choice", "decision", "cell"):
        assert killed[table] == first[table]
    timeless = [[row for row in table["report"] if not row[2].startswith("time/")] for table in (killed, first)]
    assert timeless[0] == timeless[1]
