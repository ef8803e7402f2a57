import base64
import io
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.ledger import open_ledger
from analysis.pictures import median_trials, strips
from tests.analysis.synthetic import Variant

TWO = (Variant("baseline"), Variant("no_x", (-1, 0, 0, 0), "x", "baseline"))
LABELS = {"baseline": "full model", "no_x": "without x"}
CHOSEN = {"baseline": f"{1:032x}", "no_x": f"{2:032x}"}


def shown(folder):
    with open_ledger(folder) as ledger:
        return strips(ledger, CHOSEN, labels=LABELS)


def decoded(source):
    head, _, data = source.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_the_median_seed_is_the_lower_of_the_middle_two():
    values = {1: 5.0, 2: 9.0, 3: 7.0, 4: 6.0}
    rows = [("v", seed, f"t{seed}", image, value) for seed, value in values.items() for image in ("a", "b")]
    frame = pd.DataFrame(rows, columns=["variant", "seed", "trial", "image", "psnr"])
    assert median_trials(frame, "psnr") == {"v": "t4"}
    assert median_trials(frame[frame["seed"] != 2], "psnr") == {"v": "t4"}
    assert median_trials(frame.assign(psnr=np.nan), "psnr") == {}


def test_a_strip_goes_from_the_input_over_the_variants_to_the_reference(make_study):
    (first, second) = shown(make_study(variants=TWO))
    assert (first.name, second.name) == ("photos/cat", "photos/hall")
    labels = [picture.label for picture in first.pictures]
    assert labels == ["input", "input, brightened", "full model", "without x", "normal light"]


def test_a_picture_carries_the_score_of_that_very_picture(make_study):
    folder = make_study(variants=TWO)
    strip = shown(folder)[0]
    with open_ledger(folder) as ledger:
        query = "SELECT value FROM image WHERE trial = 2 AND step = 400 AND image = 'cat' AND metric = 'eval/psnr_db'"
        ((value,),) = ledger.connection.execute(query).fetchall()
    assert strip.pictures[3].score == f"PSNR {value:.2f} dB"
    assert strip.pictures[-1].score == ""


def test_without_a_reference_the_score_is_another_metric(make_study):
    strip = shown(make_study(variants=TWO, images={"DICM": {"a": "a"}}, unpaired=("DICM",)))[0]
    assert strip.pictures[0].score == "NIQE 5.20"


def test_at_most_four_images_are_shown_and_every_set_has_its_turn(make_study):
    images = {"DICM": {f"d{n}": f"d{n}" for n in range(5)}, "LOL": {f"l{n}": f"l{n}" for n in range(5)}}
    names = [strip.name for strip in shown(make_study(variants=TWO, images=images))]
    assert names == ["DICM/d0", "DICM/d3", "LOL/l1", "LOL/l4"]


def test_large_pictures_shrink_to_480_pixels_and_small_ones_stay(make_study):
    folder = make_study(variants=TWO)
    large = np.zeros((400, 600, 3), np.uint8)
    Image.fromarray(large).save(folder / "storage/references/input/photos/cat.png")
    strip = shown(folder)[0]
    assert decoded(strip.pictures[0].source).size == (480, 320)
    assert decoded(strip.pictures[1].source).size == (90, 60)


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(b"no picture")])
def test_a_picture_that_cannot_be_read_leaves_its_place(make_study, spoil):
    folder = make_study(variants=TWO)
    spoil(folder / "storage/references/gain/photos/cat.png")
    picture = shown(folder)[0].pictures[1]
    assert (picture.label, picture.source, picture.score) == ("input, brightened", "", "PSNR 17.40 dB")


def test_a_storage_that_is_not_here_is_no_error(make_study):
    folder = make_study(variants=TWO)
    shutil.rmtree(folder / "storage")
    assert {picture.source for strip in shown(folder) for picture in strip.pictures} == {""}


def test_a_study_without_pictures_has_no_strips(make_study):
    assert shown(make_study(variants=TWO, pictures=False)) == []


def test_a_trained_model_stands_between_the_variants_and_the_reference(make_study):
    strip = shown(make_study(variants=TWO, model=True))[0]
    assert [picture.label for picture in strip.pictures][-3:] == ["without x", "official", "normal light"]
    assert strip.pictures[-2].score.startswith("PSNR 1")
