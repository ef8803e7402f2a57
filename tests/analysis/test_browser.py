import re
import shutil
import subprocess
from itertools import pairwise

import pytest
from PIL import Image

from analysis.factorial import full
from analysis.report import write_report
from tests.analysis.browser import browser
from tests.analysis.costs import add_costs
from tests.analysis.synthetic import designed
from tests.analysis.synthetic_search import ordinary

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FRAME = """<!DOCTYPE html>
<iframe id="page" src="report/index.html" style="width:{width}px;height:2000px;border:0"></iframe>
<script>page.onload = () => {{
  const root = page.contentDocument.documentElement;
  const broken = [...page.contentDocument.images].filter(image => !image.naturalWidth).length;
  document.title = `${{root.scrollWidth - root.clientWidth}} px too wide, ${{broken}} pictures broken`;
}}</script>"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install chromium to check the page in a browser"),
]


def chromium(tmp_path, *arguments):
    fixed = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    command = [
        CHROMIUM,
        *fixed,
        "--allow-file-access-from-files",
        f"--user-data-dir={tmp_path / 'profile'}",
        *arguments,
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def costed(folder):
    """Add what a sweep of today records besides: the lock on the plan, and costs."""
    return add_costs(folder, lambda variant, seed: (8.0, 20.0 + seed, 600.0), lock={"sha256": "5e" * 32})


@pytest.mark.parametrize("width", [1200, 360])
def test_the_page_never_scrolls_sideways_and_shows_every_picture(make_study, tmp_path, width):
    folder = make_study(
        ends={("no_attention", 2): ("DIVERGED", "", "DivergedError: " + "x" * 300)},
        defects=True,
        model=True,
        events=[("no_attention", 2, 150, "spike", "global", 9.0, "step 150: " + "y" * 300)],
    )
    write_report(costed(folder))
    (folder / "frame.html").write_text(FRAME.format(width=width))
    found = chromium(tmp_path, "--virtual-time-budget=10000", "--dump-dom", (folder / "frame.html").as_uri())
    assert re.search(r"<title>(.*?)</title>", found)[1] == "0 px too wide, 0 pictures broken"


@pytest.mark.parametrize("width", [1200, 360])
def test_the_page_of_a_search_never_scrolls_sideways(make_search, tmp_path, width):
    why = {"no_global_sfp": {"loss.sfp_global": "x" * 200}}
    folder = make_search(ordinary(search={"left_out": why, "cautions": ["y" * 200]}))
    write_report(folder)
    (folder / "frame.html").write_text(FRAME.format(width=width))
    found = chromium(tmp_path, "--virtual-time-budget=10000", "--dump-dom", (folder / "frame.html").as_uri())
    assert re.search(r"<title>(.*?)</title>", found)[1] == "0 px too wide, 0 pictures broken"


@pytest.mark.parametrize("last", ["global_self_feature_preserving", "x" * 120])
def test_variants_with_long_names_leave_the_page_as_narrow_as_a_phone(make_study, tmp_path, last):
    components = ("local_discriminator", "relativistic_average", last)
    runs = designed(full(components).runs, components, len)
    write_report(make_study(variants=runs, design="factorial", components=components))
    (tmp_path / "study" / "frame.html").write_text(FRAME.format(width=360))
    found = chromium(
        tmp_path, "--virtual-time-budget=10000", "--dump-dom", (tmp_path / "study" / "frame.html").as_uri()
    )
    assert re.search(r"<title>(.*?)</title>", found)[1] == "0 px too wide, 0 pictures broken"


def test_the_page_follows_the_reader_into_the_dark(make_study, tmp_path):
    folder = make_study()
    write_report(folder)
    corners = []
    for scheme in (1, 0):  # light, dark
        shot = tmp_path / f"{scheme}.png"
        address = (folder / "report" / "index.html").as_uri()
        chromium(tmp_path, f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={shot}", address)
        corners.append(sum(Image.open(shot).convert("RGB").getpixel((2, 2))))
    assert corners[0] > 3 * 230
    assert corners[1] < 3 * 60


@pytest.fixture
def tab(tmp_path):
    with browser(CHROMIUM, tmp_path / "tab") as found:
        yield found


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_asks_for_nothing_and_complains_of_nothing(make_study, tab, width, dark):
    folder = make_study(defects=True, model=True)
    write_report(folder)
    address = (folder / "report" / "index.html").as_uri()
    tab.open(address, width=width, dark=dark, touch=width < 500)
    assert tab.complaints() == []
    assert tab.requests() == [address]
    assert tab.run("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


SLIDER = """(() => {
  const compare = document.querySelector(".compare"), range = compare.querySelector("input");
  const shown = compare.querySelector(".before"), right = compare.querySelector(".after");
  return {at: Number(range.value), said: range.getAttribute("aria-valuetext"), clip: getComputedStyle(shown).clipPath,
    left: shown.alt, right: right.alt, hidden: compare.hidden, outline: getComputedStyle(range.parentNode).outlineStyle,
    loaded: shown.naturalWidth > 0 && right.naturalWidth > 0};
})()"""


@pytest.mark.parametrize("width", [1280, 390])
def test_the_slider_moves_by_keyboard_and_says_where_it_is(make_study, tab, width):
    folder = make_study()
    write_report(folder)
    tab.open((folder / "report" / "index.html").as_uri(), width=width, dark=False, touch=width < 500)
    before = tab.run(SLIDER)
    assert (before["at"], before["hidden"], before["loaded"]) == (50, False, True)
    assert before["said"] == "50 % input, 50 % full model"
    assert "input" in before["left"]
    assert "full model" in before["right"]
    for _ in range(300):  # reached by the keyboard alone
        tab.press("Tab", 9)
        if tab.run("document.activeElement.type") == "range":
            break
    else:
        pytest.fail("Tab never reaches the slider")
    assert tab.run(SLIDER)["outline"] == "solid"
    for _ in range(3):
        tab.press("ArrowRight", 39)
    moved = tab.run(SLIDER)
    assert (moved["at"], moved["said"]) == (53, "53 % input, 47 % full model")
    assert moved["clip"] != before["clip"]
    tab.press("Home", 36)
    assert tab.run(SLIDER)["at"] == 0


def test_another_variant_is_chosen_beside_the_slider(make_study, tab):
    folder = make_study()
    write_report(folder)
    tab.open((folder / "report" / "index.html").as_uri(), width=1280, dark=False)
    tab.run("document.querySelector('.compare select').focus()")
    tab.press("ArrowDown", 40)
    assert "without attention" in tab.run(SLIDER)["right"]
    assert tab.run("document.querySelector('.compare output').textContent").startswith("PSNR ")


def test_without_scripts_the_pictures_stand_side_by_side(make_study, tab):
    folder = make_study()
    write_report(folder)
    tab.ask("Emulation.setScriptExecutionDisabled", value=True)
    tab.open((folder / "report" / "index.html").as_uri(), width=1280, dark=False)
    assert tab.run("document.querySelector('.compare').offsetHeight") == 0
    places = "[...document.querySelectorAll('.pictures img')].slice(0, 2).map(one => one.getBoundingClientRect().top)"
    tops = tab.run(places)
    assert tops[0] == tops[1]
    assert tab.run("document.querySelector('.pictures img').naturalWidth") > 0


def test_paper_shows_no_slider_no_dark_ground_and_all_that_is_folded(make_study, tab):
    folder = make_study()
    write_report(folder)
    tab.open((folder / "report" / "index.html").as_uri(), width=800, dark=True)
    tab.ask("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.run("document.querySelector('.compare').offsetHeight") == 0
    assert tab.run("document.querySelector('nav').offsetHeight") == 0
    assert tab.run("[...document.querySelectorAll('details table')].every(one => one.getBoundingClientRect().height)")


PAPER_PX = 673
"""Of A4 between margins of 14 mm, at 96 to an inch, and a little less."""


def test_paper_has_every_column_of_every_table(make_study, tab):
    folder = costed(make_study())
    write_report(folder)
    tab.open((folder / "report" / "index.html").as_uri(), width=PAPER_PX, dark=False)
    tab.ask("Emulation.setEmulatedMedia", media="print")
    assert tab.run("document.querySelectorAll('table.cost thead th').length") == 9
    widths = tab.run("[...document.querySelectorAll('table')].map(one => one.getBoundingClientRect().right)")
    assert max(widths) <= PAPER_PX


def test_a_phone_shows_the_zero_of_the_forest_plot_first(make_study, tab):
    folder = make_study()
    write_report(folder)
    tab.open((folder / "report" / "index.html").as_uri(), width=390, dark=False, touch=True)
    zero = "[...document.querySelectorAll('svg.forest text')].find(one => one.textContent.includes('worse'))"
    span = f"(box => [box.left, box.right])({zero}.getBoundingClientRect())"
    left, right = tab.run(span)
    assert 0 < left < right < 390


def test_headings_go_down_one_by_one_and_every_picture_and_field_has_a_name(make_study, tab):
    folder = make_study(defects=True, model=True)
    write_report(folder)
    tab.open((folder / "report" / "index.html").as_uri(), width=1280, dark=False)
    levels = tab.run("[...document.querySelectorAll('h1, h2, h3, h4')].map(one => Number(one.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert tab.run("[...document.images].every(one => one.alt)")
    assert tab.run("[...document.querySelectorAll('input, select')].every(one => one.ariaLabel || one.labels.length)")
    anchors = tab.run("[...document.querySelectorAll('nav a')].map(one => !!document.querySelector(one.hash))")
    assert anchors
    assert all(anchors)
