from hashlib import sha256

import pytest

from platform.acceptance import accept, facts
from platform.deviations import changed, deviations, digest, exploratory, locked
from platform.ledger import Ledger
from platform.plan import cells
from tests.platform.specs import SMALL, study


def test_nothing_changed_is_no_deviation(tmp_path):
    assert deviations(study(tmp_path).resolved(), study(tmp_path).resolved()) == []


def test_a_seed_more_a_margin_and_a_component_are_named_with_both_values(tmp_path):
    before = study(tmp_path).resolved()
    after = study(tmp_path, "seeds=3", "analysis.matters={eval/ssim: 0.01}", "components.sfp={loss.sfp_global: 0}")
    assert deviations(before, after.resolved()) == [
        "analysis.matters.eval/ssim: added, 0.01",
        "components.sfp: added, {loss.sfp_global: 0}",
        "seeds: 2 became 3",
    ]


DECIDED = "{start: 3, max: 12, until: decided}"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (["seeds=3"], [f"seeds={DECIDED}"], "seeds: 3 became up to 12 until decided (looks at 3, 5, 8, 12)"),
        ([f"seeds={DECIDED}"], ["seeds=[4, 7]"], "seeds: up to 12 until decided (looks at 3, 5, 8, 12) became [4, 7]"),
        (["design=add-one-in"], ["design={orders: 20}"], "design: 'add-one-in' became {orders: 20}"),
        (["components.sfp={loss.sfp_global: 0}"], [], "components.sfp: removed, it was {loss.sfp_global: 0}"),
        ([], ["components.attention={generator.attention: constant}"],
         "components.attention: {generator.attention: 'none'} became {generator.attention: 'constant'}"),
    ],
)  # fmt: skip
def test_what_changed_as_a_whole_is_one_sentence(tmp_path, before, after, said):
    old, new = study(tmp_path, *before), study(tmp_path, *after)
    assert [one.replace('"', "'") for one in deviations(old.resolved(), new.resolved())] == [said]


def test_folders_that_moved_with_the_same_images_in_them_are_none(tmp_path):
    text = "study: s\ndata: {source: folders, low: a, normal: b, evaluate: {x: {low: c, normal: d}}}\n"
    before = study(tmp_path, text=text).resolved()
    after = study(tmp_path, "data.low=/elsewhere", "data.evaluate.x.normal=/there", text=text).resolved()
    assert deviations(before, after, same_images=True) == []
    assert len(deviations(before, after, same_images=False)) == 2


def test_what_changes_no_result_and_no_verdict_is_none(tmp_path):
    after = study(tmp_path, "resources.cpu=4", "budget.failures=2", "tracking.experiment=x")
    assert deviations(study(tmp_path).resolved(), after.resolved()) == []


def test_other_hours_are_listed_since_they_decide_how_many_seeds_there_are(tmp_path):
    before, after = (study(tmp_path, f"budget.hours={hours}").resolved() for hours in (2, 9))
    assert deviations(before, after) == [
        "budget.hours: 2.0 became 9.0: how many seeds there are was decided after the first trial"
    ]


def test_a_file_of_weights_that_moved_is_none_while_every_variant_keeps_its_trials(tmp_path):
    text = "study: s\ntrain: {init: a.pt}\ncomponents: {start: {init: b.pt}}\n"
    before = study(tmp_path, text=text).resolved()
    after = study(tmp_path, "train.init=/else/a.pt", "components.start={init: /else/b.pt}", text=text).resolved()
    assert deviations(before, after, same_trials=True) == []
    assert len(deviations(before, after, same_trials=False)) == 2


def test_a_component_that_comes_or_goes_is_one_though_the_others_keep_their_trials(tmp_path):
    before = study(tmp_path).resolved()
    after = study(tmp_path, "components.sfp={loss.sfp_global: 0}", "seeds=3").resolved()
    said = ["components.sfp: added, {loss.sfp_global: 0}", "seeds: 2 became 3"]
    assert deviations(before, after, same_trials=True) == said


def test_another_model_to_compare_with_is_none(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"weights")
    after = study(tmp_path, f"reference.official={tmp_path / 'a.pth'}")
    assert after.resolved()["reference"] == {"official": str(tmp_path / "a.pth")}
    assert deviations(study(tmp_path).resolved(), after.resolved()) == []


def plan_of(found, images="d" * 32, *, confirming=None, direction=True):
    return locked(found.resolved(), images=[images, confirming or images], direction=direction)


def touched(tmp_path, *settings, text=SMALL):
    """Return which verdicts the settings make exploratory if they come after the first trial."""
    before, after = study(tmp_path, text=text), study(tmp_path, *settings, text=text)
    return exploratory(plan_of(before), plan_of(after), changed(before.resolved(), after.resolved()))


def test_the_hash_is_that_of_the_canonical_json_and_of_all_that_decides_a_verdict(tmp_path):
    assert digest({"b": [1, 2], "a": "\u00e9"}) == sha256('{"a":"\u00e9","b":[1,2]}'.encode()).hexdigest()
    before = digest(plan_of(study(tmp_path)))
    for setting in (
        "analysis.primary=eval/ssim", "analysis.matters={eval/psnr_db: 1}", "analysis.at=2", "analysis.images=sample",
        "seeds=3", "components.sfp={loss.sfp_global: 0}", "design=add-one-in", "control.placebo=true", "train.steps=50",
        "train.watch.collapse.evaluations=3",
    ):  # fmt: skip
        assert digest(plan_of(study(tmp_path, setting))) != before, setting
    assert (
        digest(locked({**study(tmp_path).resolved(), "trainer": "x"}, images=["d" * 32] * 2, direction=True)) != before
    )
    assert digest(plan_of(study(tmp_path), direction=False)) != before
    assert digest(plan_of(study(tmp_path), images="e" * 32)) != before
    for setting in ("resources.cpu=4", "budget.hours=1", "tracking.experiment=x", "keep.checkpoints=1"):
        assert digest(plan_of(study(tmp_path, setting))) == before, setting


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("analysis.primary=eval/ssim", "analysis.primary: 'eval/psnr_db' became 'eval/ssim'"),
        ("analysis.matters={eval/psnr_db: 1}", "analysis.matters.eval/psnr_db: added, 1.0"),
        ("analysis.at=2", "analysis.at: 4 became 2"),
        ("analysis.images=sample", "analysis.images: 'these' became 'sample'"),
        ("seeds=3", "seeds: 2 became 3"),
        ("train.steps=50", "train.steps: 40 became 50"),
    ],
)
def test_what_every_verdict_rests_on_makes_all_exploratory(tmp_path, setting, said):
    found = touched(tmp_path, setting)
    assert list(found) == [""]
    assert [one.replace('"', "'") for one in found[""]] == [said]


def test_a_margin_of_another_metric_and_what_changes_no_verdict_touch_none(tmp_path):
    assert touched(tmp_path, "analysis.matters={eval/ssim: 0.01}", "resources.cpu=4", "budget.hours=1") == {}


def test_a_component_that_is_added_or_defined_anew_touches_its_own_verdict_and_one_that_is_gone_all(tmp_path):
    assert list(touched(tmp_path, "components.sfp={loss.sfp_global: 0}")) == ["sfp"]
    assert list(touched(tmp_path, "components.attention={generator.attention: constant}")) == ["attention"]
    gone = SMALL.replace("  local_sfp: {loss.sfp_local: 0}\n", "")
    before, after = study(tmp_path), study(tmp_path, text=gone)
    paths = changed(before.resolved(), after.resolved())
    assert list(exploratory(plan_of(before), plan_of(after), paths)) == [""]


def test_in_a_crossed_design_a_new_component_touches_every_verdict(tmp_path):
    text = SMALL + "design: factorial\n"
    assert list(touched(tmp_path, "components.sfp={loss.sfp_global: 0}", text=text)) == [""]


def test_a_placebo_that_is_added_touches_its_own_verdict(tmp_path):
    assert list(touched(tmp_path, "control.placebo=true")) == ["placebo"]


def test_what_is_again_as_it_was_locked_touches_none(tmp_path):
    plan = plan_of(study(tmp_path))
    assert exploratory(plan, plan, ["analysis.primary", "seeds"]) == {}


def test_other_images_or_another_direction_touch_all(tmp_path):
    plan = plan_of(study(tmp_path))
    others = exploratory(plan, plan_of(study(tmp_path), images="e" * 32), ["data.low"])
    assert others == {"": ["data: the images are others than they were"]}
    turned = exploratory(plan, plan_of(study(tmp_path), direction=False), [])
    assert turned == {"": ["analysis.primary: higher is better became lower is better"]}


def test_another_trainer_touches_all_and_a_lock_from_before_trainers_were_locked_none(tmp_path):
    plan = plan_of(study(tmp_path))
    assert exploratory(plan, plan | {"trainer": "x"}, ["trainer"]) == {"": ['trainer: "trials.trainer" became "x"']}
    earlier = {name: one for name, one in plan.items() if name != "trainer"}
    assert exploratory(earlier, plan_of(study(tmp_path, "seeds=3")), ["seeds"]) == {"": ["seeds: 2 became 3"]}
    assert exploratory(earlier, plan, []) == {}


def test_changes_that_an_earlier_version_recorded_by_their_parts_still_count(tmp_path):
    plan, decided = plan_of(study(tmp_path)), plan_of(study(tmp_path, f"seeds={DECIDED}"))
    assert list(exploratory(plan, decided, ["seeds", "seeds.max", "seeds.start"])) == [""]
    anew = plan_of(study(tmp_path, "components.attention={generator.attention: constant}"))
    assert list(exploratory(plan, anew, ["components.attention.generator.attention"])) == ["attention"]
    dotted = plan_of(study(tmp_path, "components={a.b: {loss.sfp_global: 0}}"))
    gone = exploratory(plan_of(study(tmp_path)), dotted, ["components.a.b"])
    assert list(gone) == ["a.b"]


def test_a_search_that_was_changed_while_it_was_gone_touches_all(tmp_path):
    before = plan_of(study(tmp_path)) | {"search": {"trials": 4}}
    after = before | {"search": {"trials": 9}}
    assert exploratory(before, after, ["search"]) == {"": ["search: changed"]}
    assert exploratory(before, before, ["search"]) == {}
    assert exploratory(before, plan_of(study(tmp_path)), ["search"]) == {"": ["search: removed"]}


class Opened:
    """A ledger with a study that is accepted as the sweep does it."""

    def __init__(self, folder):
        self.ledger, self.folder, self.now = Ledger(folder / "small"), folder, 0.0

    def accept(self, *settings):
        self.now += 1
        found = study(self.folder, *settings)
        planned = cells(found, "d" * 32)
        known = facts(found, self.ledger, storage=self.ledger.folder, digests=("d" * 32, "d" * 32))
        said = accept(found, self.ledger, known, planned, self.now)
        return said, planned

    def begin(self, planned):
        self.now += 1
        self.ledger.begin_driver({}, self.now)
        self.ledger.begin(planned[0].trial, {}, self.now)


@pytest.fixture
def opened(tmp_path):
    one = Opened(tmp_path)
    yield one
    one.ledger.close()


def test_until_the_first_trial_the_lock_follows_the_spec_and_then_it_holds(opened):
    opened.accept()
    first = opened.ledger.get("lock")
    said, planned = opened.accept("analysis.at=2")
    assert said == []
    lock = opened.ledger.get("lock")
    assert lock["sha256"] != first["sha256"]
    assert lock["plan"]["analysis"]["at"] == 2
    assert lock["sha256"] == digest(lock["plan"])
    opened.begin(planned)
    assert opened.accept("analysis.at=3")[0] == ["analysis.at: 2 became 3"]
    assert opened.ledger.get("lock") == lock
    assert opened.ledger.get("exploratory") == {"": ["analysis.at: 2 became 3"]}
    opened.accept("analysis.at=2")
    assert opened.ledger.get("exploratory") == {}


def test_seeds_added_after_a_look_are_a_recorded_deviation_and_make_every_verdict_exploratory(opened):
    _, planned = opened.accept()
    opened.begin(planned)
    opened.accept("seeds=3")
    opened.accept("seeds=3", "resources.cpu=2")  # what comes later does not wash it off
    recorded = opened.ledger.db.execute("SELECT text FROM deviation").fetchall()
    assert recorded == [("seeds: 2 became 3",)]
    assert opened.ledger.get("exploratory") == {"": ["seeds: 2 became 3"]}


def test_a_ledger_that_began_without_a_lock_is_locked_as_it_began(opened):
    _, planned = opened.accept()
    lock = opened.ledger.get("lock")
    opened.begin(planned)
    opened.accept("seeds=3")
    opened.ledger.db.execute("DELETE FROM study WHERE key IN ('lock', 'unlocked', 'exploratory')")
    opened.accept("seeds=3", "components.sfp={loss.sfp_global: 0}")
    assert opened.ledger.get("lock") == lock
    assert opened.ledger.get("exploratory") == {
        "": ["seeds: 2 became 3"], "sfp": ["components.sfp: added, {loss.sfp_global: 0}"],
    }  # fmt: skip


def test_a_clock_that_is_set_back_before_the_first_trial_moves_no_lock(opened):
    opened.now = 3600.0
    _, planned = opened.accept()
    lock = opened.ledger.get("lock")
    opened.now = 0.0
    opened.begin(planned)
    assert opened.accept("analysis.at=2")[0] == ["analysis.at: 4 became 2"]
    assert opened.ledger.get("lock") == lock
    assert opened.ledger.get("exploratory") == {"": ["analysis.at: 4 became 2"]}
    opened.ledger.db.execute("DELETE FROM study WHERE key IN ('lock', 'unlocked', 'exploratory')")
    opened.now = 7200.0
    opened.accept("analysis.at=3")
    assert opened.ledger.get("lock") == lock  # as it began, of a ledger from before there were locks


def test_other_images_under_the_same_names_make_every_verdict_exploratory(tmp_path):
    found = study(tmp_path)
    assert list(exploratory(plan_of(found), plan_of(found, "e" * 32), [])) == [""]
    assert list(exploratory(plan_of(found), plan_of(found, confirming="e" * 32), [])) == [""]


def test_the_same_seeds_written_otherwise_touch_nothing(tmp_path):
    counted, listed = study(tmp_path), study(tmp_path, "seeds=[1, 2]")
    assert exploratory(plan_of(counted), plan_of(listed), ["seeds"]) == {}
    default = study(tmp_path, "seeds={start: 3, max: 5, until: decided}")
    spelt = study(tmp_path, "seeds={start: 3, max: 5, until: decided, looks: [3, 5]}")
    assert exploratory(plan_of(default), plan_of(spelt), ["seeds.looks"]) == {}
