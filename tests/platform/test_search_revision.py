"""Changing one's mind: what of a search is still valid is used, the rest is kept and marked."""

import pytest

from platform import simulation
from tests.platform.simulated import SPEC, everything, rows, run, states, study, suggestions

SPACE = SPEC["search"]["space"]
VARIANTS = ("baseline", "no_attention", "no_local_discriminator")


@pytest.fixture
def said(monkeypatch):
    """What was said to have changed."""
    found = []
    accept = simulation.accept
    monkeypatch.setattr(simulation, "accept", lambda *given: found.extend(accept(*given)) or found)
    return found


def trainings(folder):
    return rows(folder, "SELECT count(*) FROM attempt")[0][0]


def left_out(folder, variant="baseline"):
    query = "SELECT number, left_out FROM suggestion WHERE variant = ? AND left_out IS NOT NULL ORDER BY number"
    return dict(rows(folder, query, variant))


def test_a_wider_space_keeps_every_suggestion(tmp_path, said):
    folder = run(study(tmp_path), tmp_path / "out")
    before, count = suggestions(folder), trainings(folder)
    wider = {**SPACE, "loss.sfp_global": {"float": [0.01, 10], "log": True}}
    run(study(tmp_path, search={"space": wider, "trials": 12}), folder)
    assert suggestions(folder)[:9] == before
    assert len(suggestions(folder)) == 12
    assert trainings(folder) - count >= 9  # three more for each variant, and what is confirmed anew
    assert "search.trials: 9 became 12" in said


def test_a_narrower_space_leaves_out_what_lies_outside_and_every_budget_is_filled_again(tmp_path, said):
    folder = run(study(tmp_path), tmp_path / "out")
    narrower = {**SPACE, "loss.sfp_global": {"float": [0.2, 3], "log": True}}
    outside = [number for number, one in enumerate(suggestions(folder)) if one["loss.sfp_global"] < 0.2]
    assert outside
    run(study(tmp_path, search={"space": narrower}), folder)
    assert sorted(left_out(folder)) == outside
    assert [len(suggestions(folder, name)) for name in VARIANTS] == [9, 9, 9]
    assert all(one["loss.sfp_global"] >= 0.2 for one in suggestions(folder))
    assert any(text.startswith("baseline: ") and "not in the space any more" in text for text in said)


def test_back_again_the_study_is_what_it_was(tmp_path):
    folder = run(study(tmp_path), tmp_path / "out")
    before = everything(folder)
    run(study(tmp_path, search={"trials": 15}), folder)
    run(study(tmp_path), folder)
    after = everything(folder)
    assert after["choice"] == before["choice"]
    assert after["cell"] == before["cell"]
    assert set(left_out(folder).values()) == {"the budget has no room for it"}
    count = trainings(folder)
    run(study(tmp_path, search={"trials": 15}), folder)
    assert trainings(folder) == count


def test_another_component_gets_a_search_of_its_own_and_the_others_stay(tmp_path):
    folder = run(study(tmp_path), tmp_path / "out")
    before = {name: suggestions(folder, name) for name in VARIANTS}
    more = {**SPEC["components"], "relativistic": {"loss.global_adversarial": "least_squares"}}
    run(study(tmp_path, components=more), folder)
    assert {name: suggestions(folder, name) for name in VARIANTS} == before
    assert states(folder)["no_relativistic", "COMPLETED"] == 9
    assert suggestions(folder, "no_relativistic")[:3] == before["baseline"][:3]


def test_another_parameter_counts_earlier_trials_at_the_value_that_they_had(tmp_path):
    folder = run(study(tmp_path), tmp_path / "out")
    before = suggestions(folder)
    more = {**SPACE, "local.patch_px": {"choice": [16, 32]}}
    run(study(tmp_path, search={"space": more, "trials": 12}), folder)
    assert suggestions(folder)[:9] == [{**one, "local.patch_px": 32} for one in before]


def test_another_objective_uses_what_was_trained_and_chooses_anew(tmp_path):
    folder = run(study(tmp_path), tmp_path / "out")
    before, count = suggestions(folder), trainings(folder)
    run(study(tmp_path, search={"objectives": {"eval/niqe": "min"}}), folder)
    assert suggestions(folder) == before
    ((number, why),) = rows(folder, "SELECT number, why FROM choice WHERE variant = 'baseline'")
    patches = [one["local.patches"] for one in before]
    assert patches[number] == min(patches)
    assert why == "lowest eval/niqe of 9 that ran to the end"
    assert trainings(folder) - count <= 9  # what is confirmed anew


def test_another_length_of_training_leaves_everything_out(tmp_path, said):
    folder = run(study(tmp_path), tmp_path / "out")
    run(study(tmp_path, "train.steps=120"), folder)
    assert set(left_out(folder).values()) == {"steps was 100 and is 120"}
    assert len(left_out(folder)) == 9
    assert len(suggestions(folder)) == 9
    assert "baseline: 9 suggestions of its search left out, such as number 0, since steps was 100 and is 120" in said


def test_a_variant_that_is_gone_keeps_its_trials_in_the_ledger(tmp_path):
    folder = run(study(tmp_path), tmp_path / "out")
    run(study(tmp_path, components={"attention": SPEC["components"]["attention"]}), folder)
    assert set(left_out(folder, "no_local_discriminator").values()) == {"the design has no such variant"}
    assert ("no_local_discriminator", "COMPLETED") not in states(folder)
    assert rows(folder, "SELECT count(*) FROM trial WHERE state = 'COMPLETED'")[0][0] > 20


def test_without_the_search_the_study_is_a_fixed_one_and_with_it_the_search_again(tmp_path):
    folder = run(study(tmp_path), tmp_path / "out")
    before = everything(folder)
    found = study(tmp_path, "search=null", "confirm=null")
    assert found.spec.search is None
    run(found, folder)
    assert states(folder) == states(folder, "confirm") == {}
    run(study(tmp_path), folder)
    assert everything(folder)["cell"] == before["cell"]


def test_more_seeds_of_the_search_train_only_what_is_missing(tmp_path):
    folder = run(study(tmp_path, search={"trials": 6}, confirm={"seeds": [8, 9]}), tmp_path / "out")
    tried = suggestions(folder)
    run(study(tmp_path, search={"trials": 12, "seeds": 2}, confirm={"seeds": [8, 9]}), folder)
    assert suggestions(folder) == tried
    seeds = rows(folder, "SELECT seed, count(*) FROM cell WHERE stage = 'search' AND variant = 'baseline' GROUP BY 1")
    assert seeds == [(1, 6), (2, 6)]
    assert rows(folder, "SELECT max(n) FROM (SELECT count(*) n FROM attempt GROUP BY trial)") == [(1,)]


def test_what_another_rule_or_objective_stopped_is_left_out_and_comes_back_with_it(tmp_path, said):
    asha = {"asha": {"first_rung": 20, "reduction": 3}}
    folder = run(study(tmp_path, search={"scheduler": asha}), tmp_path / "out")
    before, stopped = suggestions(folder), states(folder)["baseline", "STOPPED"]
    run(study(tmp_path, search={"scheduler": "none"}), folder)
    assert (
        list(left_out(folder).values()) == ["it was stopped early under another rule or by another objective"] * stopped
    )
    assert states(folder) == {(name, "COMPLETED"): 9 for name in VARIANTS}
    assert any("stopped early under another rule" in text for text in said)
    run(study(tmp_path, search={"scheduler": asha}), folder)
    assert set(left_out(folder).values()) == {"the budget has no room for it"}
    assert suggestions(folder) == before


def test_more_seeds_to_confirm_leave_every_repeat_as_it_is(tmp_path):
    folder = run(study(tmp_path, search={"repeats": 2}, confirm={"seeds": 2}), tmp_path / "out")
    before = [suggestions(folder, repeat=repeat) for repeat in (0, 1)]
    run(study(tmp_path, search={"repeats": 2}, confirm={"seeds": 4}), folder)
    assert [suggestions(folder, repeat=repeat) for repeat in (0, 1)] == before
    assert left_out(folder) == {}


def test_first_points_are_the_same_for_all_after_a_change_that_leaves_everything_out(tmp_path):
    folder = run(study(tmp_path), tmp_path / "out")
    run(study(tmp_path, "train.batch=3"), folder)
    first = [suggestions(folder, name)[:3] for name in VARIANTS]
    assert first[0] == first[1] == first[2]


def test_a_search_that_comes_or_goes_is_one_deviation(tmp_path, said):
    folder = run(study(tmp_path, "search=null", "confirm=null"), tmp_path / "out")
    run(study(tmp_path), folder)
    assert said == ["search: added", "confirm: added"]
