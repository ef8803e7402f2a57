import pytest

from analysis.defects import WHOLE, by_set, in_brief
from analysis.ledger import open_ledger
from analysis.shown import groups
from analysis.tables import read, tables


@pytest.fixture
def made(make_study):
    def make(name="study", **plan):
        with open_ledger(make_study(name, **plan)) as ledger:
            readings = read(ledger, "fixed")
        return readings, tables(readings)

    return make


def test_each_defect_shows_its_first_measured_metrics_the_trainings_own_in_a_table_of_their_own(made):
    readings, found = made(defects=True, model=True)
    of_set, whole = by_set(readings, found)
    assert (of_set.name, of_set.spans, of_set.begins) == ("photos", [("Colour", 4), ("Detail", 4)], {4})
    assert of_set.heads[:2] == [("CIEDE2000, lightness apart", "\u2193"), ("Chroma, log2 of the ratio", "")]
    assert ("GMSD in hair", "\u2193") not in of_set.heads  # the fifth of its kind
    assert [row["name"] for row in of_set.rows][-2:] == ["gamma", "official"]
    assert (whole.name, whole.spans) == (WHOLE, [("Gradients", 4), ("Equilibrium", 4)])
    assert [row["kind"] for row in whole.rows] == ["variant"] * 6
    table = found.variants.set_index("row")
    mean, spread = whole.rows[1]["cells"][4]
    assert mean == f"{table.at['no_attention', 'health/margin_global']:.3f}"
    assert spread == f"\u00b1 {table.at['no_attention', 'health/margin_global sd']:.3f}"
    assert not any("CIEDE" in title for group in groups(readings, found) for title, _ in group.heads)


def test_without_references_a_defect_shows_what_can_be_measured_without(made):
    of_set, _ = by_set(*made(defects=True, images={"DICM": {"a": "a"}}, unpaired=("DICM",)))
    assert [title for title, _ in of_set.heads] == ["Chroma over the input's, log2", "Noise (grey levels)"]
    assert of_set.spans == [("Colour", 1), ("Detail", 1)]


def test_a_study_without_defects_has_no_table_of_them(made):
    assert by_set(*made()) == []
    assert in_brief(*made(name="again")) is None


def test_the_brief_table_has_a_metric_of_each_defect_for_the_set_where_most_was_measured(made):
    sets = {"DICM": {"a": "a"}, "LOL": {"b": "b"}}
    brief = in_brief(*made(defects=True, images=sets, unpaired=("DICM",), model=True))
    assert brief.name == "LOL"
    assert [title for title, _ in brief.heads] == [
        "CIEDE2000, lightness apart", "GMSD", "Gradient spikes so far", "Margin, global discriminator",
    ]  # fmt: skip
    assert [row["kind"] for row in brief.rows] == ["variant"] * 6
    assert {len(row["cells"]) for row in brief.rows} == {4}
