import pytest

from platform.plan import Done, Next, Wait, cells, identity, plan
from tests.platform.specs import study

DIGEST = "d" * 32


def test_the_order_is_seed_by_seed_through_all_variants(tmp_path):
    order = [(cell.seed, cell.variant) for cell in cells(study(tmp_path), DIGEST)]
    assert order == [(seed, name) for seed in (1, 2) for name in ("baseline", "no_attention", "no_local_sfp")]


def test_the_next_trial_is_the_first_without_a_result(tmp_path):
    made = cells(study(tmp_path), DIGEST)
    states = {made[0].trial: "COMPLETED", made[1].trial: "DIVERGED", made[2].trial: "FAILED"}
    assert plan(made, states, capacity=2) == Next(made[3])
    assert plan(made, {}, capacity=1) == Next(made[0])


def test_with_no_place_free_it_waits(tmp_path):
    made = cells(study(tmp_path), DIGEST)
    assert plan(made, {made[0].trial: "RUNNING"}, capacity=1) == Wait()
    assert plan(made, {made[0].trial: "RUNNING"}, capacity=2) == Next(made[1])


def test_it_is_done_only_when_nothing_runs_any_more(tmp_path):
    made = cells(study(tmp_path), DIGEST)
    states = {cell.trial: "COMPLETED" for cell in made}
    assert plan(made, states, capacity=2) == Done()
    assert plan(made, states | {made[0].trial: "RUNNING"}, capacity=2) == Wait()


def test_a_spent_budget_lets_running_trials_end_and_starts_no_other(tmp_path):
    made = cells(study(tmp_path), DIGEST)
    assert plan(made, {made[0].trial: "RUNNING"}, capacity=2, spent_s=7200, budget_s=7200) == Wait()
    done = plan(made, {made[0].trial: "COMPLETED"}, capacity=2, spent_s=7200, budget_s=7200)
    assert done == Done("the budget of 2 hours is spent; raise budget.hours to go on")
    assert isinstance(plan(made, {}, capacity=2, spent_s=7199, budget_s=7200), Next)


def test_a_full_storage_lets_running_trials_end_and_starts_no_other(tmp_path):
    made = cells(study(tmp_path), DIGEST)
    assert plan(made, {made[0].trial: "RUNNING"}, capacity=2, halt="full") == Wait()
    assert plan(made, {made[0].trial: "COMPLETED"}, capacity=2, halt="full") == Done("full")
    assert plan(made, {cell.trial: "COMPLETED" for cell in made}, capacity=2, halt="full") == Done()


def test_one_more_seed_adds_trials_and_keeps_every_identity(tmp_path):
    two = {cell.trial for cell in cells(study(tmp_path), DIGEST)}
    three = {cell.trial for cell in cells(study(tmp_path, "seeds=3"), DIGEST)}
    assert two < three
    assert len(three - two) == 3


@pytest.mark.parametrize(
    "setting",
    ["train.steps=50", "train.loss.sfp_global=0.5", "train.local.patch_px=16", "seeds=[8, 9]"],
)
def test_whatever_can_change_a_result_changes_the_identity(tmp_path, setting):
    before = {cell.trial for cell in cells(study(tmp_path), DIGEST)}
    assert before.isdisjoint(cell.trial for cell in cells(study(tmp_path, setting), DIGEST))
    assert before.isdisjoint(cell.trial for cell in cells(study(tmp_path), "e" * 32))


@pytest.mark.parametrize("setting", ["resources.cpu=2", "analysis.at=2", "tracking.uri=http://h", "study=other"])
def test_whatever_cannot_change_a_result_does_not(tmp_path, setting):
    before = [cell.trial for cell in cells(study(tmp_path), DIGEST)]
    assert before == [cell.trial for cell in cells(study(tmp_path, setting), DIGEST)]


def test_a_placebo_and_a_results_version_are_part_of_the_identity():
    parts = ("trials.trainer", "1", {"steps": 1}, DIGEST, 1, "")
    names = {identity(*parts), identity(*parts[:-1], "placebo"), identity(parts[0], "2", *parts[2:])}
    assert len(names) == 3
    assert all(len(name) == 32 for name in names)
