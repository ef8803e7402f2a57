import re

import pandas as pd
import pytest

from analysis.report import write_report
from tests.analysis.synthetic_search import NIQE, PSNR, SFP, Asked, Tried, flat, ordinary
from tests.analysis.test_report import markdown, page

PATCHES = "local.patches"


def figure(found):
    source = found.source[found.source.index('class="search"') :]
    return source[: source.index("</svg>")]


def asha(name, complete, stopped, value=lambda place: 10.0 + place % 5):
    """Return a search of which so many suggestions ran to the end and so many were stopped at the first rung."""
    params = [{SFP: 0.1 * 1.2**place, PATCHES: place % 8 + 1} for place in range(complete + stopped)]
    done = [Tried(flat(value(place)), params[place], decisions={100: "continue"}) for place in range(complete)]
    lost = [
        Tried(flat(value(place), count=1), params[place], "STOPPED", {100: "stop"})
        for place in range(complete, complete + stopped)
    ]
    return {(name, 0): [*done, *lost]}


def test_where_early_stopping_left_next_to_nothing_a_notice_says_so_once_the_search_is_over(make_search):
    tried = {
        **asha("baseline", 1, 9),
        **asha("no_attention", 2, 6),
        **asha("no_global_sfp", 3, 6),
    }
    chosen = dict.fromkeys(tried, (0, "best"))
    over = page(make_search(Asked(tried, chosen), "over")).text
    said = "Early stopping It left little to choose from. Ran to the end: 1 of 10 suggestions of full model, "
    assert f"{said}the first one alone; 2 of 8 suggestions of without attention." in over
    assert "left little" not in page(make_search(Asked(tried), "open")).text


def test_parameters_are_compared_at_the_first_rung_where_stopping_left_too_few(make_search):
    tried = asha("baseline", 2, 14, value=lambda place: 10.0 + place)  # grows with sfp
    facts = {"parameters": {"baseline": [SFP, PATCHES]}}
    text = markdown(make_search(Asked(tried, search=facts)))
    assert "compared are the values at step 100, the first rung, of all that reached it" in text
    assert re.search(r"\| local\.patches \| not told from noise \|", text)
    assert re.search(r"\| loss\.sfp_global \| \d\d %", text)
    assert "| Suggestions compared | 16 |" in text


def test_a_single_parameter_gets_no_share(make_search):
    tried = {("baseline", 0): [Tried(flat(10.0 + place), {SFP: 0.1 * 1.2**place}) for place in range(14)]}
    text = markdown(make_search(Asked(tried)))
    assert "| loss.sfp_global | told from noise |" in text
    assert "100 %" not in text[text.index("### Parameters told") : text.index("| Parameter |")].replace(
        "up to 100 %", ""
    )


@pytest.mark.parametrize("niqe", [20.0, -20.0])
def test_a_stopped_suggestion_far_off_is_drawn_at_the_edge_and_flattens_nothing(make_search, niqe):
    values = [(10.0, 4.0), (12.0, 3.0), (11.0, 3.5), (11.5, 3.2), (10.5, 3.8)]
    far = Tried([(2.0 if niqe > 0 else 11.0, niqe)], state="STOPPED", decisions={100: "stop"})
    objectives = {"objectives": {PSNR: "max", NIQE: "min"}}
    plain = {("baseline", 0): [Tried(flat(*one), decisions={100: "continue"}) for one in values]}
    before = page(make_search(Asked(plain, search=objectives), "plain"))
    after = page(make_search(Asked({("baseline", 0): [*plain["baseline", 0], far]}, search=objectives), "far"))
    ticks = re.compile(r">([\d.]+)</text>")
    assert ticks.findall(figure(after)) == ticks.findall(figure(before))
    assert "A hollow triangle at the edge" in after.text
    assert "triangle" not in before.text


def test_with_one_objective_a_stopped_suggestion_far_off_flattens_nothing_either(make_search):
    plain = [Tried(flat(value), decisions={100: "continue"}) for value in (10.0, 12.0, 11.0, 11.5, 10.5)]
    far = Tried([(-40.0,)], state="STOPPED", decisions={100: "stop"})
    found = page(make_search(Asked({("baseline", 0): [*plain, far]})))
    assert "\u221240" not in figure(found)
    assert "A hollow triangle at the edge" in found.text


def test_the_trials_and_the_curves_say_what_images_they_are_over(make_search):
    found = page(make_search())
    assert "PSNR (dB) is the mean over the images of SICE and the last 2 evaluations, as in the verdicts." in found.text
    assert "those of the search among them; the verdicts and the variant table are on SICE alone." in found.text
    trials = found.text[found.text.index(" Trials ") :]
    assert re.search(r"full model 11 completed 12\.50 ", trials)  # 16 - 3 - 0.5: on the new images alone
    same = page(make_search(ordinary(sets=[]), "same"))
    assert "PSNR (dB) is that of the last evaluation." in same.text
    assert "among them" not in same.text


def test_what_tuning_changed_stands_beside_what_was_confirmed(make_search):
    found = page(make_search()).text
    assert "Confirmed minus untuned [95 %]" in found
    assert re.search(r"1\.00 dB worse [+\u2212]\d\.\d\d \[[+\u2212]\d+\.\d\d, [+\u2212]\d+\.\d\d\]", found)
    assert re.search(r"without global sfp PSNR \(dB\) [^A-Z]* \u2013 12\.00 ± 0\.50 \u2013 the same settings", found)


def test_a_repeat_of_settings_is_no_point_of_the_front_of_its_own(make_search):
    tried = {("baseline", 0): [Tried(flat(12.0)), Tried(same_as=0), Tried(flat(11.0), {SFP: 2.0})]}
    folder = make_search(Asked(tried))
    write_report(folder)
    assert pd.read_csv(folder / "report" / "search.csv")["front"].tolist() == [True, False, False]


def test_on_a_phone_a_row_of_settings_or_rungs_names_its_cells(make_search):
    source = page(make_search()).source
    assert '<th scope="row" data-head="Rung (step)">200</th>' in source
    assert re.search(r'<td data-head="Why"[^>]*>highest PSNR of 2', source)
