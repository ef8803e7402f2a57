import csv
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trials import official
from trials import evaluate as module
from trials import images
from trials.detail import Region
from trials.enhance import enhance
from trials.evaluate import evaluate
from trials.metrics import score
from trials.sets import EvaluationImage
from trials.trainer import METRICS

ROOT = Path(__file__).parents[2]


def adding(value):
    """A generator that adds `value` to an image in [-1, 1]."""
    generator = official.generator(width=1, attention="none")
    with torch.no_grad():
        generator["conv10"].weight.zero_()
        generator["conv10"].bias.fill_(value)
    return generator


def pixels(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_each_image_is_scored_against_its_input_its_reference_and_in_its_hair():
    hair = Region(2, 4, 10, 12)
    paired = EvaluationImage("night", "a", "scene", pixels(20, 24), pixels(20, 24, seed=1), hair)
    single = EvaluationImage("wild", "b", "b", pixels(200, 200), None)
    generator = adding(10 / 127.5)
    scores, pictures = evaluate(generator, [paired, single])
    assert [(one.set, one.image, one.scene) for one in scores] == [("night", "a", "scene"), ("wild", "b", "b")]
    np.testing.assert_equal(scores[0].metrics, score(enhance(generator, paired.low), paired.normal, paired.low, hair))
    np.testing.assert_equal(scores[1].metrics, score(enhance(generator, single.low), None, single.low))
    assert "eval/hair_gmsd" in scores[0].metrics
    assert scores[0].metrics["eval/input_ciede2000"] > 0
    assert pictures == {}


def test_enhanced_images_are_written_under_set_and_name(tmp_path):
    member = EvaluationImage("night", "a.b", "a", pixels(20, 24), None)
    _, pictures = evaluate(adding(0.1), [member], pictures=tmp_path)
    assert pictures == {"night/a.b": tmp_path / "night" / "a.b.png"}
    assert (images.read(pictures["night/a.b"]) == enhance(adding(0.1), member.low)).all()


@pytest.fixture
def folder(tmp_path):
    """Weights that add 10 levels, two pairs, and two images without references."""
    torch.save(adding(10 / 127.5).state_dict(), tmp_path / "w.pth")
    for number in range(2):
        images.write(tmp_path / "pairs" / "low" / f"{number}.png", pixels(100, 200, number) // 4)
        images.write(tmp_path / "pairs" / "normal" / f"{number}.png", pixels(100, 200, number))
        images.write(tmp_path / "night" / f"n{number}.png", pixels(200, 200, number) // 4)
    return tmp_path


def run(capsys, *arguments):
    """Return the command's status and what it said."""
    try:
        status = module.main(list(map(str, arguments)))
    except SystemExit as error:
        status = error.code
    told = capsys.readouterr()
    return status, " ".join((told.out + told.err).split())


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_command_scores_pairs_and_shows_the_input_beside_the_output(folder):
    command = [sys.executable, "-m", "trials.evaluate", folder / "w.pth", folder / "pairs", "--csv", folder / "s.csv"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"COLUMNS": "160"}, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    written = rows(folder / "s.csv")
    assert [(one["set"], one["image"], one["method"]) for one in written] == [
        ("pairs", "0", "input"), ("pairs", "0", "output"), ("pairs", "1", "input"), ("pairs", "1", "output"),
    ]  # fmt: skip
    low, normal = (images.read(folder / "pairs" / kind / "1.png") for kind in ("low", "normal"))
    for one, image in ((written[2], low), (written[3], enhance(adding(10 / 127.5), low))):
        for key, value in score(image, normal, low).items():
            assert (math.isnan(value) and one[key] == "") or float(one[key]) == value
    means = [np.mean([float(one["eval/psnr_db"]) for one in written[which::2]]) for which in (0, 1)]
    found = re.search(r"PSNR \(dB\) ↑ +([\d.]+) +([\d.]+)", done.stdout)
    assert [float(text) for text in found.groups()] == pytest.approx(means, abs=6e-4)
    assert "NIQE ↓" in done.stdout


def test_images_without_references_have_the_metrics_that_need_none(folder, capsys):
    status, said = run(
        capsys, folder / "w.pth", folder / "night", "--csv", folder / "s.csv", "--pictures", folder / "p"
    )
    assert status == 0
    assert "mean over 2 images" in said
    assert "NIQE ↓" in said
    assert "PSNR" not in said
    for one in rows(folder / "s.csv"):
        assert all(one[metric.key] == "" for metric in METRICS if metric.needs_reference and metric.per_image)
        assert one["eval/niqe"] != ""
    made = images.read(folder / "p" / "night" / "n1.png")
    assert (made == enhance(adding(10 / 127.5), images.read(folder / "night" / "n1.png"))).all()


def test_the_bundled_photographs_are_scored(folder, capsys):
    status, said = run(capsys, folder / "w.pth", "photos", "--csv", folder / "s.csv")
    assert (status, "mean over 2 images" in said) == (0, True)
    assert [one["image"] for one in rows(folder / "s.csv")] == ["chelsea", "chelsea", "china", "china"]


def test_an_image_that_cannot_be_scored_is_named_and_the_others_are(folder, capsys):
    (folder / "night" / "n0.png").write_bytes(b"no picture")
    status, said = run(capsys, folder / "w.pth", folder / "night")
    assert status == 1
    assert "n0.png: not an image, or damaged" in said
    assert "1 of 2 images could not be scored" in said
    assert "mean over 1 image," in said


def test_a_generator_that_gives_no_numbers_fails_each_image_by_name(folder, capsys):
    torch.save(adding(math.nan).state_dict(), folder / "w.pth")
    status, said = run(capsys, folder / "w.pth", folder / "night")
    assert (status, "n0: the generator's output is not finite" in said) == (1, True)


@pytest.mark.parametrize(
    ("weights", "data", "said"),
    [
        ("w.pth", "none", r"none: expected a folder of images, but it does not exist"),
        ("none.pth", "night", r"none\.pth: there is no such file of weights"),
        ("w.pth", "unpaired", r"expected a reference for every low-light image.*none for a\.png"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(folder, capsys, weights, data, said):
    images.write(folder / "unpaired" / "low" / "a.png", pixels(20, 20))
    images.write(folder / "unpaired" / "normal" / "b.png", pixels(20, 20))
    status, told = run(capsys, folder / weights, folder / data)
    assert status == 2
    assert re.search(said, told)


def test_a_table_that_cannot_be_written_is_a_failure(folder, capsys):
    status, said = run(capsys, folder / "w.pth", folder / "pairs", "--csv", folder / "w.pth" / "s.csv")
    assert (status, "cannot be written" in said) == (1, True)
