import re
import shutil
import subprocess

import pytest
from PIL import Image

from analysis.report import write_report
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


@pytest.mark.parametrize("width", [1200, 360])
def test_the_page_never_scrolls_sideways_and_shows_every_picture(make_study, tmp_path, width):
    folder = make_study(
        ends={("no_attention", 2): ("DIVERGED", "", "DivergedError: " + "x" * 300)},
        defects=True,
        model=True,
        events=[("no_attention", 2, 150, "spike", "global", 9.0, "step 150: " + "y" * 300)],
    )
    write_report(folder)
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
