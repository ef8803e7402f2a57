import pytest

from tests.analysis.synthetic import LEAVE_ONE_OUT, Plan, write_study
from tests.analysis.synthetic_search import TWO, add_search, ordinary


@pytest.fixture
def make_study(tmp_path):
    """Write a made-up study; keyword arguments are those of `Plan`."""

    def make(name="study", **plan):
        return write_study(tmp_path / name, Plan(**plan))

    return make


@pytest.fixture
def make_search(make_study):
    """Write a made-up study of the full model and two variants with a search, by default `ordinary`."""

    def make(asked=None, name="study", **plan):
        variants = [one for one in LEAVE_ONE_OUT if one.name in ("baseline", *TWO)]
        return add_search(make_study(name, **{"variants": variants, "pictures": False, **plan}), asked or ordinary())

    return make
