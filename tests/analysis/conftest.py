import pytest

from tests.analysis.synthetic import Plan, write_study


@pytest.fixture
def make_study(tmp_path):
    """Write a made-up study; keyword arguments are those of `Plan`."""

    def make(name="study", **plan):
        return write_study(tmp_path / name, Plan(**plan))

    return make
