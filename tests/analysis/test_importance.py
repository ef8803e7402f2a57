import numpy as np
import pytest

from analysis.importance import importances
from analysis.ledger import open_ledger
from analysis.suggestions import load_suggestions
from tests.analysis.synthetic_search import SFP, Asked, Tried, flat


@pytest.fixture
def shares(make_search):
    def make(count, **options):
        rng = np.random.default_rng(5)
        drawn = [(float(10 ** rng.uniform(-1, 1)), int(rng.integers(1, 9))) for _ in range(count)]
        tried = [Tried(flat(float(np.log10(sfp))), {SFP: sfp, "local.patches": patches}) for sfp, patches in drawn]
        tried += options.pop("more", [])
        facts = {"parameters": {"baseline": [SFP, "local.patches"], "no_global_sfp": []}, **options}
        with open_ledger(make_search(Asked({("baseline", 0): tried}, search=facts))) as ledger:
            return importances(load_suggestions(ledger), ledger.study.search)

    return make


def test_a_parameter_on_which_the_objective_depends_alone_explains_nearly_all(shares):
    found = shares(30)
    assert list(found) == ["baseline"]  # the other one has nothing to search
    assert found["baseline"][SFP] > 0.9
    assert sum(found["baseline"].values()) == pytest.approx(1)


def test_fewer_than_ten_different_complete_suggestions_are_only_counted(shares):
    params = {SFP: 1.0, "local.patches": 1}
    more = [Tried(params=params, same_as=0), Tried([(1.0,)], params, state="STOPPED")]
    assert shares(9, more=more) == {"baseline": 9}


def test_a_parameter_that_exists_only_sometimes_is_left_out(shares):
    found = shares(15, more=[Tried(flat(0.5), {SFP: 3.0})])
    assert found["baseline"] == {SFP: 1.0}
