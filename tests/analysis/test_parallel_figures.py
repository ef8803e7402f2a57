import math
import re
import xml.etree.ElementTree as ET

import pytest

from analysis.figures import collected
from analysis.ledger import open_ledger
from analysis.parallel_figures import coordinates
from analysis.suggestions import read_search
from tests.analysis.synthetic_search import NIQE, PSNR, SFP, Asked, Tried, flat, ordinary

LABELS = {"baseline": "full model", "no_attention": "without attention", "no_global_sfp": "without global sfp"}
PATCHES, PATCH_PX, VARIANT = "local.patches", "local.patch_px", "baseline"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def draw(make_search):
    def make(asked=None, name="study"):
        with open_ledger(make_search(asked, name)) as ledger:
            return coordinates(read_search(ledger), ledger.study, LABELS)

    return make


def searched(*tried, paths=(SFP,), chosen=None, **search):
    """A search of the full model alone."""
    choices = {} if chosen is None else {(VARIANT, 0): (chosen, "best")}
    facts = {"parameters": {VARIANT: list(paths)}, "budget": {"trials": len(tried)}, **search}
    return Asked({(VARIANT, 0): list(tried)}, choices, search=facts)


def texts(svg):
    return ["".join(node.itertext()).strip() for node in ET.fromstring(svg).iter(f"{SVG}text")]


def lines(svg, colour="accent"):
    """The heights of each line of this colour at its axes, in points from below."""
    found = re.findall(rf'<path d="(M[^"]*)"[^>]*style="fill: none; stroke: var\(--{colour}\)', svg)
    return [[-float(y) for y in re.findall(r"[ML] [-\d.]+ ([-\d.]+)", one)] for one in found]


def share(svg, place=0):
    """How far from the lowest to the highest line on an axis each of three lines lies, lowest first."""
    low, middle, high = sorted(one[place] for one in lines(svg))
    return (middle - low) / (high - low)


def test_a_logarithmic_setting_lies_by_its_logarithm_and_a_whole_number_by_its_value(draw):
    values = [(0.1, 1), (1.0, 3), (10.0, 5)]
    tried = [Tried(flat(10.0 + place), {SFP: sfp, PATCHES: n}) for place, (sfp, n) in enumerate(values)]
    ((svg, _),) = draw(searched(*tried, paths=(SFP, PATCHES)))
    assert share(svg) == pytest.approx(0.5, abs=0.01)  # 1 is the middle of 0.1 and 10
    assert share(svg, 1) == pytest.approx(0.5, abs=0.01)
    found = texts(svg)
    assert {"0.1", "1", "10"} <= set(found)
    assert {"2", "4", "6", "8"} <= set(found)  # of 1 to 8: no number is a fraction
    assert {"sfp_global", "patches"} <= set(" ".join(found).replace("\n", " ").split())


def test_choices_are_steps_in_the_order_of_the_spec(draw, monkeypatch):
    space = {PATCH_PX: {"choice": [64, 16, 8]}}
    monkeypatch.setattr("tests.analysis.synthetic_search.SPACE", space)
    tried = [Tried(flat(10.0 + place), {PATCH_PX: px}) for place, px in enumerate((64, 8, 16))]
    ((svg, _),) = draw(searched(*tried, paths=(PATCH_PX,)))
    assert share(svg) == pytest.approx(0.5, abs=0.01)
    by_value = sorted(lines(svg), key=lambda one: one[1])  # PSNR 10, 11, 12: 64, 8, 16
    assert [sorted(one[0] for one in by_value).index(one[0]) for one in by_value] == [0, 2, 1]
    assert {"64", "16", "8"} <= set(texts(svg))


def test_a_setting_that_does_not_exist_beside_the_others_is_told_from_the_lowest_one(draw):
    tried = [
        Tried(flat(10.0), {SFP: 0.1, PATCHES: 1}),
        Tried(flat(11.0), {SFP: 1.0}),
        Tried(flat(12.0), {SFP: 10.0, PATCHES: 8}),
    ]
    ((svg, _),) = draw(searched(*tried, paths=(SFP, PATCHES)))
    assert "not set" in texts(svg)
    lowest, unset, highest = (one[1] for one in sorted(lines(svg), key=lambda one: one[2]))
    assert unset < lowest < highest


def test_what_was_tried_outside_of_the_range_of_today_has_a_place_on_the_axis(draw):
    tried = [Tried(flat(10.0 + place), {SFP: sfp}) for place, sfp in enumerate((0.01, 1.0, 100.0))]
    ((svg, _),) = draw(searched(*tried))
    assert {"0.01", "100"} <= set(texts(svg))
    assert share(svg) == pytest.approx(0.5, abs=0.01)


def test_the_better_the_stronger_whatever_better_is(draw):
    def opacities(way):
        tried = [Tried(flat(10.0 + place), {SFP: 0.1 + place}) for place in range(3)]
        ((svg, _),) = draw(searched(*tried, objectives={PSNR: way}), way)
        styles = re.findall(r'<path d="M[^"]*"[^>]*style="fill: none; stroke: var\(--accent\)([^"]*)"', svg)
        found = [re.search(r"stroke-opacity: ([\d.]+)", style) for style in styles]
        values = [float(one[1]) if one else 1.0 for one in found]
        return [value for _, value in sorted(zip((one[1] for one in lines(svg)), values, strict=True))]  # by PSNR

    rising = opacities("max")
    assert rising == sorted(set(rising))
    assert opacities("min") == rising[::-1]


def test_titles_and_caption_say_how_many_ended_how(draw):
    ((svg, caption),) = draw(ordinary())
    titles = [text for text in texts(svg) if ":" in text]
    assert titles == [
        "full model: 4 suggestions, 2 complete, 1 stopped and 1 diverged",
        "without attention: 3 suggestions, 2 complete and 1 refused",  # the repeat is drawn once
    ]
    assert len(lines(svg)) == 4
    assert "Dashed and ending in a circle: stopped" in caption
    assert "Dotted and ending in a cross: diverged or refused." in caption


def test_a_line_that_broke_off_leaves_the_objectives_out(draw):
    tried = [
        Tried(flat(10.0), {SFP: 0.1, PATCHES: 1}),
        Tried(flat(9.0, count=1), {SFP: 1.0, PATCHES: 2}, "STOPPED", {100: "stop"}),
        Tried(flat(9.0, count=1), {SFP: 3.0, PATCHES: 3}, "DIVERGED"),
    ]
    ((svg, _),) = draw(searched(*tried, paths=(SFP, PATCHES)))
    assert [len(one) for one in lines(svg)] == [3]  # two settings and the objective
    broken = re.findall(
        r'<path d="(M[^"]*)"[^>]*style="fill: none; stroke-dasharray: ([^;]*); [^"]*var\(--(\w+)\)', svg
    )
    assert [(d.count("L"), colour) for d, _, colour in broken] == [(1, "muted"), (1, "against")]
    assert len({dashes for _, dashes, _ in broken}) == 2
    marks = [use.get("style", "") for use in ET.fromstring(svg).iter(f"{SVG}use")]
    assert ["muted" if "--muted" in style else "against" for style in marks] == ["muted", "against"]


def test_every_objective_has_an_axis_with_its_unit_and_direction(draw):
    tried = [Tried(flat(10.0 + place, 5.0 - place), {SFP: 0.1 + place}) for place in range(3)]
    ((svg, caption),) = draw(searched(*tried, objectives={PSNR: "max", NIQE: "min"}, chosen=2))
    assert {"PSNR (dB) \u2191", "NIQE \u2193"} <= set(texts(svg))
    assert "rank in PSNR" in caption
    assert "diamonds is what was chosen" in caption
    assert [len(one) for one in lines(svg, "ink")] == [3]


def test_of_very_many_suggestions_some_are_drawn_and_the_caption_says_so(draw, monkeypatch):
    monkeypatch.setattr("analysis.parallel_figures.LINES", 3)
    tried = [Tried(flat(10.0 + place), {SFP: 0.1 + place}) for place in range(7)]
    ((svg, caption),) = draw(searched(*tried, chosen=4))
    assert len(lines(svg)) == 4  # 0, 3, 6 and 4
    assert len(lines(svg, "ink")) == 1
    assert "full model: 7 suggestions, 7 complete" in texts(svg)
    assert "Of more suggestions of a variant 3 are drawn, evenly spaced, and what was chosen." in caption
    ((_, caption),) = draw(searched(*tried[:3]), "few")
    assert "evenly" not in caption


def test_before_anything_has_ended_there_is_no_figure(draw):
    assert draw(searched(Tried(state="RUNNING", curve=flat(9.0, count=1)))) == []


def test_a_suggestion_that_lacks_the_objective_is_drawn_over_its_settings(draw):
    tried = [Tried((), {SFP: 1.0, PATCHES: 1}), Tried(flat(9.0), {SFP: 2.0, PATCHES: 2})]
    ((svg, _),) = draw(searched(*tried, paths=(SFP, PATCHES)))
    assert sorted(len(one) for one in lines(svg)) == [2, 3]
    assert "nan" not in svg


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_an_infinite_objective_neither_has_a_place_nor_takes_that_of_the_others(draw, value):
    tried = [Tried(flat(one), {SFP: 1.0 + place, PATCHES: 1}) for place, one in enumerate((9.0, value, 11.0, 10.0))]
    ((svg, caption),) = draw(searched(*tried, paths=(SFP, PATCHES)))
    assert sorted(len(one) for one in lines(svg)) == [2, 3, 3, 3]
    low, middle, high = sorted(one[2] for one in lines(svg) if len(one) == 3)
    assert (middle - low) / (high - low) == pytest.approx(0.5, abs=0.01)
    assert "inf" not in " ".join(texts(svg))
    assert caption.endswith("Broken off at an objective without a finite value: 1 complete suggestion.")


def test_it_is_kept_as_files_and_drawn_alike_each_time(make_search):
    with open_ledger(make_search()) as ledger:
        found = read_search(ledger)
        with collected() as files:
            first = coordinates(found, ledger.study, LABELS)
        assert coordinates(found, ledger.study, LABELS) == first
    assert sorted(files) == ["parallel.png", "parallel.svg"]
    assert "var(--" not in files["parallel.svg"].decode()
