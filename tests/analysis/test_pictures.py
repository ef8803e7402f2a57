import base64
import io
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis import pictures
from analysis.frames import load_images
from analysis.ledger import open_ledger
from analysis.pictures import chosen, gallery, median_trials, spreads
from tests.analysis.synthetic import Variant

TWO = (Variant("baseline"), Variant("no_x", (-1, 0, 0, 0), "x", "baseline"))
LABELS = {"baseline": "full model", "no_x": "without x"}


def whole(folder, labels=LABELS):
    with open_ledger(folder) as ledger:
        return gallery(ledger, load_images(ledger), labels=labels)


def shown(folder):
    return whole(folder).strips


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
    assert median_trials(frame.assign(psnr=np.inf), "psnr") == {}


def scores(**images):
    """Return scores of two seeds: image -> variant -> mean."""
    rows = [
        (variant, seed, f"{variant}{seed}", "s", image, mean + (0.5 if seed == 1 else -0.5))
        for image, means in images.items()
        for variant, mean in means.items()
        for seed in (1, 2)
    ]
    return pd.DataFrame(rows, columns=["variant", "seed", "trial", "set", "image", "psnr"])


def test_variants_lie_as_far_apart_as_their_means_over_seeds():
    found = spreads(scores(a={"full": 10, "no_x": 12, "no_y": 7}, b={"full": 9, "no_x": 9}), "psnr")
    assert found == {"s/a": (5.0, "no_y", "no_x"), "s/b": (0.0, "full", "full")}


def test_an_image_with_one_variant_or_none_tells_of_no_difference():
    frame = scores(a={"full": 10, "no_x": np.nan}, b={"full": np.nan, "no_x": np.nan})
    assert spreads(frame, "psnr") == {}
    assert spreads(frame.assign(psnr=np.inf), "psnr") == {}


def test_each_set_has_an_image_at_random_and_one_more_where_the_variants_differ_most():
    images = [f"{of_set}/{n}" for of_set in ("DICM", "LOL") for n in range(50)]
    found = chosen(images, {"LOL/7": 3.0, "LOL/9": 5.0, "LOL/8": 5.0}, study="s")
    assert [image.partition("/")[0] for image in found] == ["DICM", "LOL", "LOL"]
    assert list(found.values()) == [["random"], ["random"], ["apart"]]
    assert list(found)[-1] == "LOL/8"


def test_the_image_at_random_hangs_on_the_names_alone_and_can_be_any():
    images = [f"s/{n}" for n in range(4)]
    again = [list(chosen(order, {}, study="x")) for order in (images, images[::-1])]
    assert again[0] == again[1]
    drawn = {next(iter(chosen(images, {}, study=f"study {n}"))) for n in range(60)}
    assert drawn == set(images)


def test_an_image_that_is_both_is_shown_once_and_marked_twice():
    assert chosen(["s/a"], {"s/a": 1.0}, study="x") == {"s/a": ["random", "apart"]}
    assert chosen(["s/a"], {"s/a": 0.0}, study="x") == {"s/a": ["random"]}
    assert chosen([], {}, study="x") == {}


def test_each_picture_of_a_variant_names_its_median_seed(make_study):
    folder = make_study(variants=TWO)
    with open_ledger(folder) as ledger:
        images = load_images(ledger)
        medians = median_trials(images, "eval/psnr_db")
    seeds = images.groupby("trial")["seed"].first()
    made = {one.label: one.made for one in shown(folder)[0].pictures}
    assert made["full model"] == f"seed {seeds[medians['baseline']]}, the median of 3"
    assert made["without x"] == f"seed {seeds[medians['no_x']]}, the median of 3"
    assert made["input"] == made["normal light"] == ""


def test_a_trial_that_two_variants_share_keeps_to_its_own_seed():
    frame = pd.DataFrame(
        [("a", 1, "t", 1.0), ("a", 2, "u", 2.0), ("a", 3, "v", 3.0), ("b", 1, "t", 1.0), ("b", 4, "w", 0.5)],
        columns=["variant", "seed", "trial", "psnr"],
    )
    assert median_trials(frame, "psnr") == {"a": "u", "b": "w"}


def test_the_reasons_say_how_far_and_which_variants_lie_apart(make_study):
    marks = dict(mark for strip in shown(make_study(variants=TWO)) for mark in strip.marks)
    assert marks["Random image"] == "chosen by a seed from the study\u2019s name."
    assert marks["Largest difference"].startswith("where the variants lie farthest apart in PSNR: ")
    ends = " dB on average over seeds, from without x (lowest) to full model (highest)."
    assert marks["Largest difference"].endswith(ends)


def test_pictures_shrink_until_the_page_is_small_enough_to_send(make_study, monkeypatch):
    folder = make_study(variants=TWO)
    rng = np.random.default_rng(0)
    for path in folder.rglob("storage/**/*.png"):
        Image.fromarray(rng.integers(0, 255, (400, 600, 3), np.uint8)).save(path)
    roomy = whole(folder)
    assert roomy.strips[0].pictures[0].width == 600
    monkeypatch.setattr(pictures, "BUDGET_BYTES", 700_000)
    found = whole(folder)
    assert sum(len(one.source) for strip in found.strips for one in strip.pictures) <= 700_000
    assert {one.width for strip in found.strips for one in strip.pictures} == {360}
    assert "at most 360 pixels wide, narrower than usual" in found.note
    assert "at most 640 pixels wide;" in roomy.note


def test_a_strip_goes_from_the_input_over_the_variants_to_the_reference(make_study):
    first = shown(make_study(variants=TWO))[0]
    labels = [picture.label for picture in first.pictures]
    assert labels == ["input", "input, brightened", "full model", "without x", "normal light"]


def test_a_picture_carries_the_score_of_that_very_picture(make_study):
    folder = make_study(variants=TWO)
    strip = shown(folder)[0]
    with open_ledger(folder) as ledger:
        trial = median_trials(load_images(ledger), "eval/psnr_db")["no_x"]
        query = (
            "SELECT value FROM image WHERE trial = (SELECT number FROM trial WHERE id = ?) AND step = 400 "
            "AND image = ? AND metric = 'eval/psnr_db'"
        )
        ((value,),) = ledger.connection.execute(query, [trial, strip.name.partition("/")[2]]).fetchall()
    assert strip.pictures[3].score == f"PSNR {value:.2f} dB"
    assert strip.pictures[-1].score == ""


def test_without_a_reference_the_score_is_another_metric(make_study):
    strip = shown(make_study(variants=TWO, images={"DICM": {"a": "a"}}, unpaired=("DICM",)))[0]
    assert strip.pictures[0].score == "NIQE 5.20"


def test_at_most_four_images_are_shown(make_study):
    images = {name: {f"{name}{n}": f"{name}{n}" for n in range(5)} for name in "abcde"}
    names = [strip.name for strip in shown(make_study(variants=TWO, images=images))]
    assert len(names) <= 4
    assert [name[0] for name in names[:3]] == ["a", "b", "c"]


def test_large_pictures_shrink_and_small_ones_stay(make_study):
    folder = make_study(variants=TWO)
    large = np.zeros((800, 1200, 3), np.uint8)
    name = shown(folder)[0].name
    Image.fromarray(large).save(folder / f"storage/references/input/{name}.png")
    strip = shown(folder)[0]
    assert decoded(strip.pictures[0].source).size == (strip.pictures[0].width, strip.pictures[0].height) == (640, 427)
    assert decoded(strip.pictures[1].source).size == (90, 60)


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(b"no picture")])
def test_a_picture_that_cannot_be_read_leaves_its_place(make_study, spoil):
    folder = make_study(variants=TWO)
    before = shown(folder)[0]
    spoil(folder / f"storage/references/gain/{before.name}.png")
    picture = shown(folder)[0].pictures[1]
    assert (picture.label, picture.source, picture.score) == ("input, brightened", "", before.pictures[1].score)
    assert picture.score.startswith("PSNR 1")


def test_without_the_input_there_is_nothing_to_slide_from(make_study):
    folder = make_study(variants=TWO)
    strip = shown(folder)[0]
    assert strip.before == strip.pictures[0]
    assert [place for place, _ in strip.after] == [1, 2, 3, 4]
    (folder / f"storage/references/input/{strip.name}.png").unlink()
    assert shown(folder)[0].before is None


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
