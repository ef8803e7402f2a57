from platform.deviations import deviations
from tests.platform.specs import study


def test_nothing_changed_is_no_deviation(tmp_path):
    assert deviations(study(tmp_path).resolved(), study(tmp_path).resolved()) == []


def test_a_seed_more_a_margin_and_a_component_are_named_with_both_values(tmp_path):
    before = study(tmp_path).resolved()
    after = study(tmp_path, "seeds=3", "analysis.matters={eval/ssim: 0.01}", "components.sfp={loss.sfp_global: 0}")
    assert deviations(before, after.resolved()) == [
        "analysis.matters.eval/ssim: nothing became 0.01",
        "components.sfp.loss.sfp_global: nothing became 0",
        "seeds: 2 became 3",
    ]


def test_folders_that_moved_with_the_same_images_in_them_are_none(tmp_path):
    text = "study: s\ndata: {source: folders, low: a, normal: b, evaluate: {x: {low: c, normal: d}}}\n"
    before = study(tmp_path, text=text).resolved()
    after = study(tmp_path, "data.low=/elsewhere", "data.evaluate.x.normal=/there", text=text).resolved()
    assert deviations(before, after, same_images=True) == []
    assert len(deviations(before, after, same_images=False)) == 2


def test_what_changes_no_result_and_no_verdict_is_none(tmp_path):
    after = study(tmp_path, "resources.cpu=4", "budget.hours=1", "tracking.experiment=x")
    assert deviations(study(tmp_path).resolved(), after.resolved()) == []


def test_a_file_of_weights_that_moved_is_none_while_every_variant_keeps_its_trials(tmp_path):
    text = "study: s\ntrain: {init: a.pt}\ncomponents: {start: {init: b.pt}}\n"
    before = study(tmp_path, text=text).resolved()
    after = study(tmp_path, "train.init=/else/a.pt", "components.start={init: /else/b.pt}", text=text).resolved()
    assert deviations(before, after, same_trials=True) == []
    assert len(deviations(before, after, same_trials=False)) == 2


def test_a_component_that_comes_or_goes_is_one_though_the_others_keep_their_trials(tmp_path):
    before = study(tmp_path).resolved()
    after = study(tmp_path, "components.sfp={loss.sfp_global: 0}", "seeds=3").resolved()
    said = ["components.sfp.loss.sfp_global: nothing became 0", "seeds: 2 became 3"]
    assert deviations(before, after, same_trials=True) == said


def test_another_model_to_compare_with_is_none(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"weights")
    after = study(tmp_path, f"reference.official={tmp_path / 'a.pth'}")
    assert after.resolved()["reference"] == {"official": str(tmp_path / "a.pth")}
    assert deviations(study(tmp_path).resolved(), after.resolved()) == []
