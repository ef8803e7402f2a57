from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.cautions import MARK, NIQE, alignment, cautions, marked, spread
from analysis.ledger import Metric, Study

STUDY = Study("s", Path(), (Metric(NIQE, "NIQE", False, False),), NIQE, {}, "these", 4, {}, "d", {})


def trials(seeds=(1, 2, 3), weights="imagenet", states=None):
    states = ["COMPLETED"] * len(seeds) if states is None else states
    return pd.DataFrame({"seed": seeds, "state": states, "config/vgg.weights": weights})


def images(*names):
    return pd.DataFrame({"set": "LOL", "image": list(names)})


def references(*methods, **scores):
    return pd.DataFrame({"method": list(methods), "set": "LOL", "image": "a", **scores})


def heads(study=STUDY, of_trials=None, of_images=None, of_references=None):
    of_trials = trials() if of_trials is None else of_trials
    of_images = images("a", "b") if of_images is None else of_images
    return [
        head
        for head, _ in cautions(study, of_trials, of_images, references() if of_references is None else of_references)
    ]


def test_a_study_on_enough_seeds_images_and_learned_features_needs_no_caution():
    assert heads() == []


def test_photographs_for_trying_are_told_in_the_words_of_the_study():
    study = Study("s", Path(), STUDY.metrics, NIQE, {}, "these", 4, {"caution": "For trying only."}, "d", {})
    assert cautions(study, trials(), images("a", "b"), references()) == [("For trying", "For trying only.")]


def test_one_seed_counts_only_what_was_completed():
    assert heads(of_trials=trials((1, 2), states=["COMPLETED", "FAILED"])) == ["One seed"]
    assert heads(of_trials=trials((1, 2))) == []


def test_one_image_is_one_however_many_trials_were_scored_on_it():
    assert heads(of_images=images("a", "a")) == ["One image"]


def test_images_without_the_primary_metric_are_not_among_those_that_verdicts_speak_of():
    assert heads(of_images=images("a", "b").assign(**{NIQE: [4.0, float("nan")]})) == ["One image"]


def test_a_margin_below_what_a_mere_cut_moves_niqe_by_is_told():
    small, enough = (replace(STUDY, matters={NIQE: margin}) for margin in (0.1, 0.2))
    assert (heads(small), heads(enough)) == (["Small margin"], [])
    assert heads(replace(small, primary="eval/psnr_db")) == []


def test_a_verdict_is_not_said_to_be_nothing():
    told, untold = alignment(0.15, NIQE, "hurts"), alignment(0.15, NIQE, "undecided")
    assert "more than chance among seeds, but no larger than such a cut makes." in told
    assert "says nothing" not in told
    assert "says nothing" in untold


@pytest.mark.parametrize(("full", "untouched", "told"), [(4.2, 4.0, True), (4.0, 4.0, True), (3.9, 4.0, False)])
def test_a_full_model_no_better_than_its_input_has_not_learned(full, untouched, told):
    scored = pd.concat([images("a", "b"), images("a")]).assign(
        variant=["baseline", "baseline", "other"], **{NIQE: [full, 99.0 if full < untouched else 1.0, 9.0]}
    )  # of b the input has no score, and another variant says nothing of the full model
    of_references = references("input", "gain", **{NIQE: [untouched, 1.0]})
    assert heads(of_images=scored, of_references=of_references) == (["Not learned"] if told else [])
    higher = replace(STUDY, metrics=(replace(STUDY.metrics[0], higher_is_better=True),))
    assert ("Not learned" in heads(higher, of_images=scored, of_references=of_references)) == (full <= untouched)


@pytest.mark.parametrize("infinite", [float("inf"), float("-inf")])
@pytest.mark.parametrize(("full", "told"), [(3.0, False), (5.0, True)])
def test_one_infinite_score_does_not_tell_whether_the_full_model_has_learned(infinite, full, told):
    ours = pd.concat([images("a", "b")] * 2).assign(variant="baseline", **{NIQE: [full, infinite, full, full]})
    input_ = pd.concat([references("input", **{NIQE: [4.0]}).assign(image=one) for one in "abc"])
    for theirs in (input_, input_.assign(**{NIQE: [4.0, infinite, 4.0]})):
        assert ("Not learned" in heads(of_images=ours, of_references=theirs)) == told


def test_random_features_are_told_of_even_one_trial():
    assert heads(of_trials=trials(weights=["imagenet", "random", "imagenet"])) == ["Random features"]
    assert heads(of_trials=trials().drop(columns="config/vgg.weights")) == []


@pytest.mark.parametrize(("difference", "noise"), [(0.0, True), (-0.2, True), (0.15, True), (0.21, False), (-3, False)])
def test_differences_of_niqe_as_small_as_a_shift_of_the_image_are_marked(difference, noise):
    assert bool(alignment(difference, NIQE)) == noise
    assert marked("+0.15 [+0.1, +0.2]", difference, NIQE) == (
        f"+0.15{MARK} [+0.1, +0.2]" if noise else "+0.15 [+0.1, +0.2]"
    )
    assert alignment(difference, "eval/psnr_db") == ""


def test_a_difference_that_is_unknown_is_not_marked():
    assert marked("\u2013", float("nan"), NIQE) == "\u2013"


@pytest.mark.parametrize(("seeds", "text"), [((1,), "1 seed alone"), ((1, 2), "2 seeds alone"), ((1, 2, 3), "")])
def test_few_seeds_are_told_beside_the_means(seeds, text):
    assert spread(trials(seeds)).startswith(text)
    assert bool(spread(trials(seeds))) == bool(text)
