import io
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.figures import ForestRow, Panels, collected, curves, forest
from analysis.ledger import Metric

PSNR = Metric("eval/psnr_db", "PSNR (dB)", True, True)
NIQE = Metric("eval/niqe", "NIQE", False, False)
ROWS = [
    ForestRow("without attention", np.array([-1.0, -1.5, -2.0]), (-2.7, -0.3), True, "-1.50 [-2.70, -0.30]"),
    ForestRow("without sfp", np.array([0.2]), (float("nan"), float("nan")), False, "+0.20"),
]
SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    return ["".join(node.itertext()).strip() for node in ET.fromstring(svg).iter(f"{SVG}text")]


def height(svg):
    return float(ET.fromstring(svg).get("viewBox").split()[3])


def table(variants):
    rows = [(name, seed, step, 10 + seed + step / 100) for name in variants for seed in (1, 2) for step in (100, 200)]
    return pd.DataFrame(rows, columns=["variant", "seed", "step", "eval/psnr_db"])


def test_the_forest_names_every_line_its_numbers_its_seeds_and_the_unit():
    found = texts(forest(ROWS, PSNR, margin=0.5, caption="x"))
    for expected in (
        "without attention",
        "-1.50 [-2.70, -0.30]",
        "3 seeds",
        "1 seed",
        "Difference of PSNR (dB): mean, 95 % interval, and each seed",
    ):
        assert expected in found


@pytest.mark.parametrize(
    ("metric", "expected"), [(PSNR, ["\u2190 worse", "better \u2192"]), (NIQE, ["\u2190 better", "worse \u2192"])]
)
def test_the_forest_says_which_side_is_better(metric, expected):
    assert [text for text in texts(forest(ROWS, metric, margin=None, caption="x")) if "er" in text or "or" in text][
        -2:
    ] == expected


def test_a_long_name_in_the_forest_stands_in_several_lines_and_none_is_cut():
    name = "without attention, local discriminator, local sfp and global sfp"
    svg = forest([replace(ROWS[0], label=name), *ROWS[1:]], PSNR, margin=None, caption="x")
    lines = [text for text in texts(svg) if text and text in name]
    assert " ".join(lines) == name
    assert len(lines) > 1
    plain = forest(ROWS, PSNR, margin=None, caption="x")
    assert height(svg) > height(plain)


def test_the_forest_has_a_dot_for_each_seed_and_a_band_for_the_margin():
    with_margin = forest(ROWS, PSNR, margin=0.5, caption="x")
    dots = [use for use in ET.fromstring(with_margin).iter(f"{SVG}use") if "opacity: 0.55" in use.get("style", "")]
    assert len(dots) == 4
    assert "var(--band)" in with_margin
    assert "var(--band)" not in forest(ROWS, PSNR, margin=None, caption="x")


def test_curves_have_a_panel_for_each_variant_that_has_any():
    labels = {"baseline": "full model", "no_x": "without x", "no_y": "without y"}
    found = texts(curves(table(["baseline", "no_x"]), PSNR, labels=labels, caption="x"))
    assert "full model" in found
    assert "without x" in found
    assert "without y" not in found
    assert {"Step (mean and range over 2 trainings)", "PSNR (dB)"} <= set(found)


def test_curves_leave_no_panel_empty_and_label_the_steps_below_the_lowest_panel_of_each_column():
    labels = {name: f"without {name}" for name in ("a", "b", "c", "d")}
    svg = curves(table(list(labels)), PSNR, labels=labels, caption="x", layout=Panels(columns=3))
    panels = [node for node in ET.fromstring(svg).iter(f"{SVG}g") if re.fullmatch(r".*-axes_\d+", node.get("id", ""))]
    assert len([panel for panel in panels if len(panel)]) == 4
    assert texts(svg).count("120") == 3  # a fourth panel stands below the first


def test_a_title_that_is_wider_than_its_panel_has_several_lines():
    long = "without local discriminator, local sfp and global sfp"
    labels = {"baseline": "full model", "no_x": long, "no_y": "without y"}
    whole = curves(table(list(labels)), PSNR, labels=labels, caption="x", layout=Panels(columns=2))
    narrow = curves(table(list(labels)), PSNR, labels=labels, caption="x", layout=Panels(columns=6, height_in=1.25))
    assert long in texts(whole)
    assert long not in texts(narrow)
    assert long in " ".join(" ".join(texts(narrow)).split())


def test_curves_over_unlike_numbers_of_seeds_say_so():
    frame = table(["baseline", "no_x"])
    frame = frame[(frame["variant"] == "baseline") | (frame["seed"] == 1)]
    found = texts(curves(frame, PSNR, labels={"baseline": "full model", "no_x": "without x"}, caption="x"))
    assert "Step (mean and range over 1 to 2 trainings)" in found


@pytest.mark.parametrize("draw", [
    lambda: forest(ROWS, PSNR, margin=0.5, caption="x"),
    lambda: curves(table(["baseline", "no_x"]), PSNR, labels={"baseline": "a", "no_x": "b"}, caption="x"),
])  # fmt: skip
def test_a_figure_drawn_twice_is_the_same_and_takes_its_colours_from_the_page(draw):
    svg = draw()
    assert draw() == svg
    assert "var(--accent)" in svg
    assert not re.search(r"(fill|stroke): #0", svg)
    assert "<metadata>" not in svg


def test_names_inside_two_figures_never_clash():
    first = forest(ROWS, PSNR, margin=0.5, caption="x")
    second = curves(table(["baseline"]), PSNR, labels={"baseline": "a"}, caption="x")
    names = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (first, second)]
    assert not names[0] & names[1]
    for svg, own in zip((first, second), names, strict=True):
        assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg)) <= own


def test_the_caption_is_read_out_and_escaped():
    root = ET.fromstring(forest(ROWS, PSNR, margin=None, caption='a < b & "c"'))
    assert root.get("aria-label") == 'a < b & "c"'
    assert root.get("role") == "img"


def test_marks_stand_in_the_panel_of_their_variant_alone():
    labels = {"baseline": "full model", "no_x": "without x"}
    drawn = [
        curves(table(list(labels)), PSNR, labels=labels, caption="x", marks=marks)
        for marks in ({}, {"no_x": [120, 180]}, {"no_x": [120, 180], "baseline": [100], "gone": [1]})
    ]
    assert [svg.count("var(--against)") > 0 for svg in drawn] == [False, True, True]
    uses = [list(ET.fromstring(svg).iter(f"{SVG}use")) for svg in drawn]
    assert [sum("--against" in use.get("style", "") for use in found) for found in uses] == [0, 2, 3]


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ((0.003, 4000.0), {"0.01", "1", "100"}),  # powers of ten alone
        ((1.2, 60.0), {"2", "5", "10", "20", "50"}),
        ((2.0, 3.0), {"2.1", "2.4", "2.7", "3"}),
    ],
)
def test_a_logarithmic_scale_has_ticks_that_fit_what_the_values_reach_over(values, ticks):
    frame = pd.DataFrame({"variant": "baseline", "seed": 1, "step": [1, 2], "eval/psnr_db": values})
    svg = curves(frame, PSNR, labels={"baseline": "a"}, caption="x", layout=Panels(log=True))
    assert ticks <= set(texts(svg))


def test_values_of_which_none_is_above_zero_are_drawn_on_a_linear_scale():
    frame = pd.DataFrame({"variant": "baseline", "seed": 1, "step": [1, 2], "eval/psnr_db": [0.0, 0.0]})
    assert "0.00" in texts(curves(frame, PSNR, labels={"baseline": "a"}, caption="x", layout=Panels(log=True)))


def drawn():
    with collected() as files:
        part = forest(ROWS, PSNR, margin=0.5, caption='a < b & "c"')
        curves(table(["baseline", "no_x"]), PSNR, labels={"baseline": "a", "no_x": "b"}, caption="x")
    return part, files


def test_what_is_drawn_is_kept_as_files_of_the_same_bytes_each_time():
    part, files = drawn()
    assert sorted(files) == ["eval-psnr_db.png", "eval-psnr_db.svg", "forest.png", "forest.svg"]
    assert drawn() == (part, files)
    assert part == forest(ROWS, PSNR, margin=0.5, caption='a < b & "c"')  # as in the page without files


def test_a_file_needs_no_page_for_its_colours_and_says_what_it_shows():
    svg = drawn()[1]["forest.svg"].decode()
    root = ET.fromstring(svg)
    assert root.find(f"{SVG}title").text == 'a < b & "c"'
    assert "var(--" not in svg
    assert not re.search(r"#0(\d)0\1", svg)  # no stand-in is left
    assert "Difference of PSNR (dB): mean, 95 % interval, and each seed" in texts(svg)


def test_a_png_has_a_white_ground_and_no_stand_in_for_a_colour():
    image = Image.open(io.BytesIO(drawn()[1]["forest.png"])).convert("RGBA")
    assert image.getchannel("A").getextrema() == (255, 255)
    image = image.convert("RGB")
    colours = {colour for _, colour in image.getcolors(1 << 20)}
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert (0x1D, 0x5C, 0x9E) in colours  # the mean of a decided comparison
    assert min(sum(colour) for colour in colours) >= 0x1C + 0x1D + 0x20  # ink is the darkest


def test_outside_of_a_collection_nothing_is_kept():
    _, files = drawn()
    forest(ROWS, PSNR, margin=None, caption="later")
    assert "later" not in files["forest.svg"].decode()
