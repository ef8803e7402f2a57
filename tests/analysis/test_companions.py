from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.companions import LUMINANCE, MATCHED, PSNR, companions, conflict
from analysis.ledger import Metric, Study

NAN = float("nan")
METRICS = (
    Metric(PSNR, "PSNR (dB)", True, True),
    Metric(MATCHED, "PSNR, brightness matched (dB)", True, True),
    Metric(LUMINANCE, "Error of the mean luminance (grey levels)", None, True),
    Metric("eval/ssim", "SSIM", True, True),
)
STUDY = Study("s", Path(), METRICS, PSNR, {}, "these", 4, {}, "d", {})
DECIMALS = {MATCHED: 2, LUMINANCE: 1}


def change(difference, half=0.5):
    return {"difference": difference, "low": difference - half, "high": difference + half}


def verdicts(**metrics):
    keys = {"psnr": PSNR, "matched": MATCHED, "luminance": LUMINANCE}
    rows = [
        {"variant": "no_x", "compared_to": "baseline", "metric": keys[name], **row} for name, row in metrics.items()
    ]
    return pd.DataFrame(rows)


def beside(levels=None, study=STUDY, **metrics):
    levels = {"baseline": -20.0, "no_x": -14.0} if levels is None else levels
    return companions(verdicts(**metrics), levels, study, decimals=DECIMALS)


@pytest.mark.parametrize(("psnr", "matched"), [(1.0, 2.0), (-1.0, -2.0), (0.0, 1.0), (1.0, 0.0)])
def test_signs_that_agree_are_no_conflict(psnr, matched):
    assert conflict(change(psnr), change(matched)) == ("", False)


@pytest.mark.parametrize(
    ("psnr", "matched", "nearer", "expected"),
    [
        (
            1.0, -2.0, True,
            "PSNR rises, but falls once brightness is matched. The variant is better in brightness (its mean luminance "
            "is nearer to the reference\u2019s), not in structure.",
        ),
        (
            -1.0, 2.0, False,
            "PSNR falls, but rises once brightness is matched. The variant is worse in brightness (its mean luminance "
            "is farther from the reference\u2019s), not in structure.",
        ),
        (
            1.0, -2.0, False,  # whatever made PSNR rise, the mean luminance does not explain it
            "PSNR rises, but falls once brightness is matched. The variant is better in brightness, not in structure.",
        ),
        (
            1.0, -2.0, None,
            "PSNR rises, but falls once brightness is matched. The variant is better in brightness, not in structure.",
        ),
    ],
)  # fmt: skip
def test_opposite_signs_that_are_told_from_zero_are_a_clear_conflict(psnr, matched, nearer, expected):
    assert conflict(change(psnr), change(matched), nearer=nearer) == (f"Signs conflict: {expected}", True)


@pytest.mark.parametrize(
    ("psnr", "matched", "said"),
    [
        (
            change(0.1, 0.2),
            change(-0.91, 0.3),
            "Within the margin in PSNR, but \u22120.91 dB once brightness is matched.",
        ),
        (change(0.1, 0.2), change(0.6, 0.3), "Within the margin in PSNR, but +0.60 dB once brightness is matched."),
        (change(0.1, 0.2), change(0.5, 0.3), ""),  # no more than the margin
        (change(0.1, 0.2), change(0.91, 1.0), ""),  # not told from zero
    ],
)
def test_equivalence_that_matching_brightness_does_not_bear_out_is_flagged(psnr, matched, said):
    study = replace(STUDY, matters={PSNR: 0.5})
    found = beside(study=study, psnr={**psnr, "verdict": "equivalent"}, matched=matched)["no_x"]
    assert (found.conflict, found.clear) == (said, bool(said))
    other = beside(study=study, psnr={**psnr, "verdict": "undecided"}, matched=matched)["no_x"]
    assert "Within" not in other.conflict


@pytest.mark.parametrize(
    ("psnr", "matched", "why"),
    [
        (change(1.0), change(-2.0, 2.5), "an interval includes zero"),
        (change(0.2), change(-2.0), "an interval includes zero"),
        ({"difference": 1.0, "low": NAN, "high": NAN}, change(-2.0), "there is no interval yet"),
    ],
)
def test_opposite_signs_that_may_be_chance_are_said_to_be_so(psnr, matched, why):
    text, clear = conflict(psnr, matched)
    assert text.endswith(f"once brightness is matched; {why}, so it may be chance.")
    assert not clear


def test_what_was_not_measured_is_no_conflict_and_is_said():
    assert conflict(change(1.0), {"difference": NAN, "low": NAN, "high": NAN}) == ("", False)
    assert conflict({"difference": NAN, "low": NAN, "high": NAN}, change(1.0)) == ("", False)
    found = beside(psnr=change(1.0))["no_x"]
    assert found.matched == "Brightness-matched PSNR: not measured"
    assert found.luminance == "Error of the mean luminance: not measured"


def test_both_companions_stand_with_their_intervals_and_where_the_brightness_went():
    found = beside(psnr=change(1.0), matched=change(-2.0), luminance=change(6.0, 1.0))["no_x"]
    assert found.matched == "Brightness-matched PSNR: \u22122.00 [\u22122.50, \u22121.50] dB"
    assert found.luminance == (
        "Error of the mean luminance: +6.0 [+5.0, +7.0] grey levels, from \u221220.0 to \u221214.0"
    )
    assert found.clear
    assert "nearer to the reference" in found.conflict


def test_too_bright_is_as_wrong_as_too_dark():
    levels = {"baseline": -20.0, "no_x": 31.0}
    found = beside(levels, psnr=change(-1.0), matched=change(2.0), luminance=change(51.0))["no_x"]
    assert "farther from the reference" in found.conflict


def test_of_an_effect_that_is_no_variant_no_brightness_is_told():
    found = beside({}, psnr=change(1.0), matched=change(-2.0), luminance=change(6.0))["no_x"]
    assert found.luminance == "Error of the mean luminance: +6.0 [+5.5, +6.5] grey levels"
    assert "reference" not in found.conflict


def test_a_verdict_on_another_metric_has_no_companions():
    study = Study("s", Path(), METRICS, "eval/ssim", {}, "these", 4, {}, "d", {})
    assert beside(study=study, psnr=change(1.0), matched=change(-2.0)) == {}


def test_a_conflict_of_an_effect_speaks_of_the_component():
    effects = verdicts(psnr=change(1.0), matched=change(-2.0)).assign(compared_to="")
    found = companions(effects, {}, STUDY, decimals=DECIMALS)["no_x"]
    assert found.conflict == (
        "Signs conflict: PSNR rises, but falls once brightness is matched. The component makes the images better in "
        "brightness, not in structure."
    )
