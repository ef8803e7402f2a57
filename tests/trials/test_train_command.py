import itertools
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from trials import config_file, images, weights
from trials import train_command as module
from trials.enhance import enhance
from trials.images import read
from trials.train import train

TIMES = ("time/step_s", "time/evaluation_s", "time/inference_ms")
CONFIG = """
study: some
train:
  steps: 6
  batch: 2
  crop_px: 32
  evaluate_every: 2
  pairing: independent
  generator: {width: 2}
  global: {layers: 2, width: 4}
  local: {layers: 2, width: 4, patches: 2, patch_px: 16}
  vgg: {weights: random, layer: relu1_1}
  optimiser: {learning_rate: 1e-3, epoch_steps: 1}
data:
  source: folders
  low: low
  normal: normal
  evaluate: {pairs: {low: pairs/low, normal: pairs/normal}, single: single}
seeds: 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory: c.yaml and the images that it names."""
    random = np.random.default_rng(0)
    sizes = {"low": (3, 40, 48), "normal": (2, 36, 50), "pairs/low": (2, 37, 45), "pairs/normal": (2, 37, 45)}
    for name, (count, height, width) in (sizes | {"single": (1, 50, 60)}).items():
        for number in range(count):
            noise = random.integers(0, 60 if "low" in name else 256, (height, width, 3), dtype=np.uint8)
            images.write(tmp_path / name / f"{number}.png", noise)
    (tmp_path / "c.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys):
    """Return a function that runs the command and returns its status and what it said."""

    def call(*arguments):
        try:
            status = module.main(list(arguments))
        except SystemExit as error:
            status = error.code
        told = capsys.readouterr()
        return status, told.out + told.err

    return call


def interrupting(monkeypatch, at):
    """Let the training be interrupted at step `at`."""

    def interrupted(*args, tick, **options):
        def until(step):
            tick(step)
            if step == at:
                raise KeyboardInterrupt

        yield from train(*args, tick=until, **options)

    monkeypatch.setattr(module, "train", interrupted)


def rows(folder, name="runs/c-seed1"):
    return [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]


def timeless(found):
    return [{key: value for key, value in row.items() if key not in TIMES} for row in found]


def test_the_command_trains_and_leaves_what_it_promises(folder):
    command = [sys.executable, "-m", "trials.train", "c.yaml", "--threads", "1", "--out", "out"]
    environment = os.environ | {"PYTHONPATH": os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "c.yaml: not used by one training: study, seeds"
    said = [line for line in lines if line.startswith("step ")]
    assert [line.split(" · ")[0] for line in said] == ["step 2/6", "step 4/6", "step 6/6"]
    assert all("PSNR (dB) " in line and "generator " in line for line in said)
    assert ["left" in line for line in said] == [True, True, False]
    assert lines[-1] == "out: trained; the generator is out/generator.pt"

    settings = config_file.read(folder / "c.yaml")
    reports = list(train(settings.config, settings.data, seed=1, folder=folder / "other"))
    for row, report in zip(rows(folder, "out"), reports, strict=True):
        values = {key: row[key] for key in report.metrics if key not in TIMES}
        nothing = {key for key in values if math.isnan(report.metrics[key])}
        assert row["step"] == report.step
        assert {key for key, value in values.items() if value is None} == nothing
        rest = values.keys() - nothing
        assert [values[key] for key in rest] == pytest.approx([report.metrics[key] for key in rest], rel=1e-4, abs=1e-6)
        assert [(one["set"], one["image"]) for one in row["images"]] == [
            ("pairs", "0"),
            ("pairs", "1"),
            ("single", "0"),
        ]
    assert rows(folder, "out")[0]["images"][2]["eval/niqe"] is None  # too small for NIQE: NaN is null

    sheets = sorted(path.name for path in (folder / "out" / "samples").iterdir())
    assert sheets == ["step-000002.png", "step-000004.png", "step-000006.png"]
    low = read(folder / "pairs" / "low" / "0.png")
    made = enhance(weights.load(folder / "out" / "generator.pt", torch.device("cpu")), low)
    sheet = read(folder / "out" / "samples" / sheets[-1])
    assert (sheet[16:53, :45] == low).all()
    assert np.abs(sheet[16:53, 324:369].astype(int) - made).max() <= 1
    assert (sheet[16:53, 648:693] == read(folder / "pairs" / "normal" / "0.png")).all()


def test_the_resolved_settings_train_the_same_again(folder, run):
    assert run("c.yaml", "--set", "train.steps=2")[0] == 0
    resolved = folder / "runs" / "c-seed1" / "config.yaml"
    content = YAML(typ="safe").load(resolved)
    assert (content["seed"], content["train"]["steps"], content["train"]["global"]["width"]) == (1, 2, 4)
    settings, again = config_file.read(folder / "c.yaml", ["train.steps=2"]), config_file.read(resolved)
    assert (again.config, again.data) == (settings.config, settings.data)


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(folder, run, monkeypatch):
    assert run("c.yaml", "--out", "whole")[0] == 0
    with monkeypatch.context() as patch:
        interrupting(patch, at=5)
        status, said = run("c.yaml", "--out", "parts")
    assert status == 130
    assert "interrupted at step 5; what was done until step 4 is kept. To go on: python -m trials.train c.yaml" in said
    assert [row["step"] for row in rows(folder, "parts")] == [2, 4]
    status, said = run("c.yaml", "--out", "parts")
    assert (status, "parts: going on after step 4 of 6" in said) == (0, True)
    assert timeless(rows(folder, "parts")) == timeless(rows(folder, "whole"))
    first, second = (weights.read_state(folder / name / "generator.pt") for name in ("whole", "parts"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_interruption_before_the_first_evaluation_starts_anew(folder, run, monkeypatch):
    with monkeypatch.context() as patch:
        interrupting(patch, at=1)
        status, said = run("c.yaml")
    assert (status, "what was done until step 0 is kept" in said) == (130, True)
    assert run("c.yaml")[0] == 0
    assert [row["step"] for row in rows(folder)] == [2, 4, 6]


def test_a_training_killed_between_its_checkpoint_and_its_line_loses_no_line(folder, run, monkeypatch):
    def killed(run, report):
        if report.step == 4:
            raise KeyboardInterrupt
        record(run, report)

    record = module._record
    with monkeypatch.context() as patch:
        patch.setattr(module, "_record", killed)
        assert run("c.yaml")[0] == 130
    assert {path.name for path in (folder / "runs" / "c-seed1").glob("*.pt")} == {"checkpoint-2.pt", "checkpoint-4.pt"}
    assert run("c.yaml")[0] == 0
    assert [row["step"] for row in rows(folder)] == [2, 4, 6]


def test_a_line_that_was_not_written_whole_is_written_again(folder, run, monkeypatch):
    with monkeypatch.context() as patch:
        interrupting(patch, at=5)
        run("c.yaml")
    path = folder / "runs" / "c-seed1" / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 6, "eval/ni')
    assert run("c.yaml")[0] == 0
    assert [row["step"] for row in rows(folder)] == [2, 4, 6]


def test_a_finished_training_has_nothing_to_do(folder, run):
    run("c.yaml", "--set", "train.steps=2")
    before = {path: path.stat().st_mtime_ns for path in (folder / "runs" / "c-seed1").rglob("*") if path.is_file()}
    status, said = run("c.yaml", "--set", "train.steps=2")
    assert (status, "nothing to do, all 2 steps are done" in said, "going on" in said) == (0, True, False)
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--set", "train.generator.width=3", "--set", "train.steps=8"],
            "generator.width is 3, there 2; steps is 8, there 2",
        ),
        (["--seed", "5"], "seed is 5, there 1"),
    ],
)
def test_another_training_is_refused_where_one_lies(folder, run, arguments, said):
    run("c.yaml", "--set", "train.steps=2", "--out", "out")
    before = (folder / "out" / "config.yaml").read_text()
    status, told = run("c.yaml", "--set", "train.steps=2", "--out", "out", *arguments)
    assert (status, said in told, "in another --out" in told) == (2, True, True)
    assert (folder / "out" / "config.yaml").read_text() == before
    assert [row["step"] for row in rows(folder, "out")] == [2]


def test_other_images_are_refused_where_a_training_lies(folder, run):
    run("c.yaml", "--set", "train.steps=2")
    images.write(folder / "low" / "0.png", np.full((40, 48, 3), 7, np.uint8))
    status, said = run("c.yaml", "--set", "train.steps=2")
    assert (status, "the images are not those that this training began with" in said) == (2, True)


def test_seeds_have_folders_of_their_own(folder, run):
    for seed in ("1", "2"):
        run("c.yaml", "--set", "train.steps=2", "--seed", seed)
    assert timeless(rows(folder, "runs/c-seed1")) != timeless(rows(folder, "runs/c-seed2"))


def test_a_training_that_breaks_down_says_so_and_keeps_its_curves(folder, run, monkeypatch):
    from trials import train as trainer

    calls, step = itertools.count(1), trainer.step

    def breaking(gan, batch):
        broken = {"loss/sfp_local": torch.tensor(math.inf)} if next(calls) == 3 else {}
        return {**step(gan, batch), **broken}

    monkeypatch.setattr(trainer, "step", breaking)
    status, said = run("c.yaml")
    assert status == 1
    assert "the training broke down: step 3: loss/sfp_local became infinite" in said
    found = rows(folder)
    assert found[0]["step"] == 2
    assert found[-1]["checkpoint"] is None
    assert found[-1]["events"][-1]["kind"] == "nonfinite"
    assert found[-1]["events"][-1]["value"] is None
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert run("c.yaml")[0] == 0
    assert [row["step"] for row in rows(folder)] == [2, 4, 6]  # the line past the checkpoint has gone


def test_everything_wrong_is_said_at_once_and_nothing_is_written(folder, run):
    status, said = run("c.yaml", "--set", "train.genrator.width=2", "--set", "train.steps=0")
    assert status == 2
    assert "c.yaml: 2 problems" in said
    assert "train.genrator: unknown setting; did you mean `generator`?" in said
    assert not (folder / "runs").exists()


def test_images_that_cannot_be_used_are_refused_before_the_training(folder, run):
    (folder / "low" / "0.png").write_bytes(b"no picture")
    (folder / "pairs" / "normal" / "1.png").unlink()
    status, said = run("c.yaml")
    assert status == 2
    assert "data.low: " in said
    assert "data.evaluate.pairs: " in said
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("arguments", [["c.yaml", "--threads", "0"], [], ["c.yaml", "--seed", "x"]])
def test_wrong_arguments_are_refused(folder, run, arguments):
    assert run(*arguments)[0] == 2


def test_a_folder_that_cannot_be_written_is_a_failure_that_names_it(folder, run):
    (folder / "file").write_text("")
    status, said = run("c.yaml", "--out", "file/out")
    assert (status, "cannot be written" in said, "file" in said) == (1, True, True)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.yaml", "a: [", "config.yaml: not the settings that this training wrote"),
        ("metrics.jsonl", "{}\n", "metrics.jsonl: line 1 is no report of a training"),
    ],
)
def test_a_damaged_file_of_a_training_is_named(folder, run, name, content, said):
    assert run("c.yaml")[0] == 0
    (folder / "runs/c-seed1" / name).write_text(content)
    status, told = run("c.yaml")
    assert status == 2
    assert said in told
