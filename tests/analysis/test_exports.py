import re
from pathlib import Path

import pytest

import analysis


def test_every_exported_name_can_be_had_and_is_documented():
    assert dir(analysis) == sorted(analysis.__all__)
    assert all(getattr(analysis, name).__doc__ for name in analysis.__all__)


def test_compare_is_the_function_whatever_was_imported_before():
    import analysis.comparison

    assert callable(analysis.compare)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'analysis' has no attribute 'load_everything'"):
        _ = analysis.load_everything


def test_the_example_of_the_package_works(make_study, monkeypatch, tmp_path):
    make_study("results/components")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^    (compare\(.*)$", Path(analysis.__file__).read_text(), flags=re.MULTILINE)
    found = eval(code, {"compare": analysis.compare, "load_judged": analysis.load_judged})
    assert found["verdict"].isin(["helps", "hurts", "equivalent", "undecided"]).all()
