from math import isnan

import numpy as np
import pytest

from analysis.importance import LEAST, importances
from analysis.ledger import open_ledger
from analysis.suggestions import read_search
from tests.analysis.synthetic_search import SFP, Asked, Tried, flat

PATCHES, PX = "local.patches", "local.patch_px"


@pytest.fixture
def mattered(make_search):
    def make(tried, parameters=(SFP, PATCHES), name="study"):
        facts = {"parameters": {"baseline": list(parameters), "no_global_sfp": []}}
        with open_ledger(make_search(Asked({("baseline", 0): tried}, search=facts), name)) as ledger:
            return importances(read_search(ledger), ledger.study.search)

    return make


def drawn(count, seed=5):
    rng = np.random.default_rng(seed)
    return [
        {SFP: float(10 ** rng.uniform(-1, 1)), PATCHES: int(rng.integers(1, 9)), PX: int(rng.choice([16, 24, 32]))}
        for _ in range(count)
    ]


def by_sfp(params):
    return float(np.log10(params[SFP]))


def test_a_parameter_on_which_the_objective_depends_alone_explains_nearly_all(mattered):
    found = mattered([Tried(flat(by_sfp(params)), params) for params in drawn(30)])
    assert list(found) == ["baseline"]  # the other one has nothing to search
    assert (found["baseline"].count, found["baseline"].rung) == (30, None)
    assert found["baseline"].shares[SFP] > 0.9
    assert found["baseline"].shares[PATCHES] is None


def test_a_choice_and_a_best_value_in_the_middle_are_found_too(mattered):
    of_px = mattered([Tried(flat({16: 1.0, 24: 5.0, 32: 0.0}[one[PX]]), one) for one in drawn(30)], [SFP, PX], "px")
    middle = mattered([Tried(flat(-(by_sfp(one) ** 2)), one) for one in drawn(30)], [SFP, PX], "middle")
    assert [path for path, share in of_px["baseline"].shares.items() if share] == [PX]
    assert [path for path, share in middle["baseline"].shares.items() if share] == [SFP]


def test_of_settings_without_any_effect_hardly_ever_one_is_said_to_matter(mattered):
    rng, found = np.random.default_rng(1), 0
    for study in range(20):
        tried = [Tried(flat(float(rng.normal())), params) for params in drawn(16, seed=study)]
        shares = mattered(tried, [SFP, PATCHES, PX], f"study{study}")["baseline"].shares
        assert list(shares) == [SFP, PATCHES, PX]
        found += any(share is not None for share in shares.values())
    assert found <= 4  # at 5 % more than 4 of 20 come about in 0.3 % of cases


def test_the_only_parameter_has_no_share_whether_it_matters_or_not(mattered):
    rng = np.random.default_rng(2)
    alone = mattered([Tried(flat(by_sfp(params)), params) for params in drawn(15)], [SFP], "alone")
    noise = mattered([Tried(flat(float(rng.normal())), params) for params in drawn(15)], [SFP], "noise")
    assert isnan(alone["baseline"].shares[SFP])
    assert noise["baseline"].shares == {SFP: None}


def test_fewer_than_ten_different_complete_suggestions_are_only_counted(mattered):
    tried = [Tried(flat(by_sfp(params)), params) for params in drawn(9)]
    found = mattered([*tried, Tried(params=drawn(1)[0], same_as=0), Tried([(1.0,)], drawn(1)[0], "STOPPED")])
    assert (found["baseline"].count, found["baseline"].shares) == (9, {})


def test_where_early_stopping_left_too_few_the_values_at_the_first_rung_are_compared(mattered):
    tried = [
        Tried([(by_sfp(params),)], params, "STOPPED", {100: "stop"}) if place else
        Tried(flat(by_sfp(params)), params, decisions={100: "continue", 200: "continue"})
        for place, params in enumerate(drawn(20))
    ]  # fmt: skip
    found = mattered(tried)["baseline"]
    assert (found.count, found.rung) == (20, 100)
    assert found.shares[SFP] > 0.9
    assert found.shares[PATCHES] is None
    few = mattered(tried[: LEAST - 1], name="few")["baseline"]
    assert (few.count, few.rung, few.shares) == (1, None, {})


def test_a_parameter_that_exists_only_sometimes_is_left_out(mattered):
    tried = [Tried(flat(by_sfp(params)), params) for params in drawn(15)]
    found = mattered([*tried, Tried(flat(0.5), {SFP: 3.0})])["baseline"]
    assert list(found.shares) == [SFP]
