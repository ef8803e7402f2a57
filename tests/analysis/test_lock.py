import re

import pandas as pd
import pytest

from analysis.ledger import open_ledger
from analysis.report import write_report
from analysis.shown import verdicts
from analysis.tables import read, tables
from tests.analysis.costs import add_costs
from tests.analysis.synthetic import LEAVE_ONE_OUT

SHA = "0f" * 32
NAMES = [one.name for one in LEAVE_ONE_OUT]


@pytest.fixture
def locked(make_study):
    def make(exploratory=None, **plan):
        folder = make_study(pictures=False, seeds=range(1, 6), **plan)
        facts = {"lock": {"sha256": SHA, "plan": {}}, "exploratory": exploratory or {}}
        return add_costs(folder, lambda variant, seed: (8.0, 20.0 + seed, 600.0), **facts)

    return make


def told(folder):
    with open_ledger(folder) as ledger:
        readings = read(ledger, "fixed")
    found = tables(readings)
    return found.verdicts[found.verdicts["role"] == "primary"].set_index("component"), verdicts(readings, found)


def test_an_intact_lock_marks_nothing_and_its_hash_stands_in_the_method(locked):
    folder = locked()
    table, said = told(folder)
    assert set(table["unlocked"]) == {""}
    assert {one.mark for one in said} == {""}
    page = write_report(folder).read_text()
    assert SHA in page
    assert "They are as they were." in page
    assert "xploratory: the plan" not in page


def test_a_change_of_what_all_rest_on_marks_every_verdict_and_p(locked):
    plain, _ = told(locked(name="plain"))
    folder = locked({"": ["seeds: 3 became 5"]})
    table, said = told(folder)
    assert set(table["unlocked"]) == {"seeds: 3 became 5"}
    assert table["verdict"].tolist() == plain["verdict"].tolist()  # marked, not withheld
    assert all(one.mark == "exploratory" and re.search(r"[(,] ?exploratory\)$", one.p) for one in said)
    assert all("(seeds: 3 became 5), so p keeps no error rate." in one.sentence for one in said)
    report = write_report(folder).parent
    helps = (table["verdict"] == "helps").sum()
    assert (report / "report.md").read_text().count("helps, exploratory") == 2 * helps > 0  # also beside its cost
    tex = (report / "tables" / "verdicts.tex").read_text()
    assert (tex.count(", exploratory & "), tex.count("exploratory) &")) == (5, 5)  # in the verdict, and beside p
    assert pd.read_csv(report / "verdicts.csv")["unlocked"].eq("seeds: 3 became 5").sum() == 5
    assert "They were changed since: seeds: 3 became 5;" in (report / "index.html").read_text()


def test_a_change_of_one_component_marks_its_own_verdict_alone(locked):
    table, said = told(locked({"attention": ["components.attention.x: 1 became 2"]}))
    assert [one.component for one in said if one.mark] == ["attention"]
    assert table["unlocked"].astype(bool).sum() == 1


def test_a_row_without_a_p_says_why_it_has_none_and_nothing_of_the_lock(locked):
    ends = {("no_attention", seed): ("PLANNED", None, None) for seed in range(1, 6)}
    table, _ = told(locked({"": ["seeds: 3 became 5"]}, ends=ends))
    assert table.at["attention", "sentence"].startswith("No verdict on attention: no completed trial")
    assert "xploratory" not in table.at["attention", "sentence"]


def test_verdicts_before_all_planned_seeds_have_ended_are_marked_everywhere(locked):
    ends = {(one, seed): ("PLANNED", None, None) for one in NAMES for seed in (4, 5)}
    folder = locked(ends=ends)
    table, said = told(folder)
    text = "interim: 3 of 5 seeds have ended in every variant, 12 trials are outstanding; "
    text += "the level holds for the 5 planned"
    assert set(table["verdict"]) <= {"helps", "hurts", "equivalent", "undecided"}
    assert table["note"].str.endswith(text).all()
    assert table["sentence"].str.endswith(f" I{text[1:]}.").all()
    assert all(one.mark == "interim" and re.search(r"[(,] ?interim\)$", one.p) for one in said)
    report = write_report(folder).parent
    helps = (table["verdict"] == "helps").sum()
    assert (report / "report.md").read_text().count("helps, interim") == 2 * helps > 0
    ahead = (report / "report.md").read_text().partition("## What it would take")[2].partition("## ")[0]
    assert f"I{text[1:]}." in ahead
    assert "| global sfp | 3 | helps so far, to be decided at the 5 planned | 12 |" in ahead
    assert "decided: " not in ahead
    tex = (report / "tables" / "verdicts.tex").read_text()
    assert (tex.count(", interim & "), tex.count("interim) &")) == (5, 5)
    assert pd.read_csv(report / "verdicts.csv")["note"].dropna().str.endswith(text).sum() == 5
    assert '<span class="bound">interim</span>' in (report / "index.html").read_text()


def test_once_all_planned_seeds_have_ended_nothing_is_interim_though_some_broke_down(locked):
    ends = {("no_attention", 5): ("FAILED", "bug", "x"), ("baseline", 4): ("DIVERGED", "", "")}
    table, said = told(locked(ends=ends))
    assert not table["note"].str.contains("interim").any()
    assert not any(one.mark for one in said)


def test_what_diverged_or_failed_is_counted_and_what_is_still_to_be_trained_is_not(locked):
    waits = {(one, seed): ("PLANNED", None, None) for one in NAMES[1:] for seed in (4, 5)}
    broke = {(one, 3): ("DIVERGED", "", "nan") for one in NAMES}
    table, _ = told(locked(ends={**waits, **broke, ("no_attention", 2): ("FAILED", "bug", "x")}))
    assert table["n_failed"].to_dict() == {one: 2 if one == "attention" else 1 for one in table.index}


def test_a_ledger_without_a_lock_is_read_as_before(make_study):
    folder = make_study(pictures=False)
    table, _ = told(folder)
    assert set(table["unlocked"]) == {""}
    assert "Locked plan" not in write_report(folder).read_text()
