import json

import pytest

from platform import trainer as trainers
from platform import yaml_file
from platform.search_checks import cautions, check_search
from platform.search_space_checks import check_fit
from platform.search_spec import Confirm, Scheduler, Search
from platform.spec import Spec, Study
from platform.spec_checks import Finder
from tests.platform.specs import study, written

SMALL = """\
study: small
train: {steps: 240, evaluate_every: 20, crop_px: 64, batch: 2, local: {patch_px: 32}}
components:
  attention: {generator.attention: none}
  local_sfp: {loss.sfp_local: 0}
seeds: 3
"""
SPACE = "  space: {loss.sfp_global: {float: [0.1, 10], log: true}}\n"


def checked(folder, text):
    """Return the sections and problems of a whole spec, as the reader of specs would."""
    raw, lines = yaml_file.read(written(folder, text))
    sections = {name: raw.pop(name) for name in ("search", "confirm") if name in raw}
    found = Finder(lines, [])
    search, confirm = (
        found.validated(model, sections[name], (name,), {}) if name in sections else None
        for name, model in (("search", Search), ("confirm", Confirm))
    )
    whole = study(folder, text=json.dumps(raw))
    check_search(search, confirm, whole, found)
    return search, confirm, whole, [str(problem) for problem in found.problems]


def problems(folder, search, *, base=SMALL):
    return checked(folder, f"{base}{search}")[-1]


def test_a_sound_search_has_no_problem(tmp_path):
    text = (
        "search:\n  trials: 20\n  objectives: {eval/psnr_db: max, eval/niqe: min}\n  space:\n"
        "    loss.sfp_global: {float: [0.1, 10], log: true}\n"
        "    local.patch_px: {choice: [16, 24, 32]}\n"
        "    local.patches: {int: [1, 8]}\n"
        "    generator.attention: {choice: [self_regularised, constant]}\n"
        "    generator.attend.skips: {choice: [true, false], when: {generator.attention: self_regularised}}\n"
        "  choose: {best: eval/psnr_db, where: {eval/niqe: '<= 4'}}\n"
        "  scheduler: {asha: {first_rung: 20, reduction: 3}}\n"
        "confirm: {seeds: 2}\n"
    )
    assert problems(tmp_path, text) == []


def test_all_problems_of_a_search_come_together_with_their_lines(tmp_path):
    text = (
        "search:\n"  # line 7
        "  trials: 1\n"
        "  steps: 240\n"
        "  sampler: tpee\n"
        "  objectives:\n"
        "    eval/psnr: max\n"
        "    eval/niqe: max\n"
        "    health/duality_gap: min\n"
        "  space:\n"
        "    loss.sfp_global: {float: [10, 0.1]}\n"
        "    loss.sfp_locl: {float: [0.1, 1]}\n"
        "    loss.identity: {float: [0, 1], log: true}\n"
        "    local.patches: {int: [2, 2]}\n"
        "    local.patch_px: {choice: [16]}\n"
        "    batch: {choice: [2, few]}\n"
        "  scheduler: {asha: {first_rung: 300}}\n"
        "  repeats: 2\n"
        "  total: {trials: 5}\n"
        "  start: [small]\n"
        "confirm: {seeds: [1, 7]}\n"
    )
    assert problems(tmp_path, text) == [
        "line 16, search.space.loss.sfp_global: the range is inverted: expected the low end first, got [10, 0.1]",
        "line 18, search.space.loss.identity: a log range holds numbers above 0 alone, got [0, 1]; raise its low end, "
        "or remove `log`",
        "line 19, search.space.local.patches: the range is empty: [2, 2] holds one value, which belongs into `train`",
        "line 20, search.space.local.patch_px: expected two values or more to choose from, got [16]; one alone belongs "
        "into `train`",
        "line 10, search.sampler: expected 'tpe', 'random', 'quasi-random' or 'gp', got \"tpee\"",
        "line 17, search.space.loss.sfp_locl: no such setting of the trainer; did you mean `loss.sfp_local` or "
        "`loss.sfp_global`?",
        "line 21, search.space.batch: expected a whole number, got \"few\"",
        "line 7, search: expected `trials` or `steps`, the budget of every variant, got both",
        "line 24, search.total.trials: too few for one setting of every variant: expected 6 or more (3 variants x 2 "
        "repeats x 1 seeds), got 5",
        "line 22, search.scheduler.asha.first_rung: expected a rung before the last step, which is 240 (train.steps) "
        "in baseline, got 300",
        "line 13, search.objectives.eval/niqe: expected min, since lower is better for eval/niqe, got max",
        "line 12, search.objectives.eval/psnr: no such metric: eval/psnr; did you mean `eval/psnr_db` or `eval/ssim`?",
        "line 14, search.objectives.health/duality_gap: health/duality_gap has one value for a whole trial, but a "
        "search compares images; name one of those",
        "line 26, confirm.seeds: the search trains with 1 too; name fresh seeds, or how many",
        "line 25, search.start: small is this study; its own trials are used anyway: remove it",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ("local.patch_px: {int: [16, 96]}", "the trainer refuses local.patch_px 96 in baseline: local.patch_px must "
         "not exceed crop_px, but 96 > 64; narrow it"),
        ("loss.sfp_global: {float: [-1, 1]}", "expected greater than or equal to 0, got -1.0"),
        ("batch: {float: [2, 8]}", "expected a whole number, got 2.0; use `int: [low, high]`"),
        ("generator.norm: {choice: [batch, layer]}", "expected 'batch', 'instance' or 'none', got \"layer\""),
        ("augment.darken_max: {int: [1, 4]}", "the trainer refuses augment.darken_max 1 in baseline: darken_min must "
         "not exceed darken_max, but 2.0 > 1.0; narrow it"),
        ("{local.patch_px: {choice: [16, 48]}, crop_px: {choice: [32, 64]}}", "the trainer refuses local.patch_px 48 "
         "and crop_px 32 in baseline: local.patch_px must not exceed crop_px, but 48 > 32; narrow one of them, or give "
         "it a `when`"),
    ],
)  # fmt: skip
def test_what_the_trainer_would_refuse_is_told_before_the_start(tmp_path, space, said):
    space = space if space.startswith("{") else f"{{{space}}}"
    found = problems(tmp_path, f"search:\n  trials: 9\n  space: {space}\n")
    assert [one.partition(": ")[2] for one in found] == [said]


def test_settings_that_have_no_part_in_a_refusal_are_not_blamed(tmp_path):
    space = "{batch: {int: [2, 4]}, local.patch_px: {int: [16, 96]}, loss.sfp_global: {float: [0, 1]}}"
    found = problems(tmp_path, f"search:\n  trials: 9\n  space: {space}\n")
    assert len(found) == 1
    assert "search.space.local.patch_px: the trainer refuses local.patch_px 96 in baseline" in found[0]


def test_a_condition_keeps_settings_apart_that_the_trainer_refuses_together(tmp_path):
    apart = "{crop_px: {choice: [32, 64]}, local.patch_px: {choice: [16, 48], when: {crop_px: 64}}}"
    assert problems(tmp_path, f"search:\n  trials: 9\n  space: {apart}\n") == []
    # and where the condition fails, the setting is the full model's, which must fit as well
    assert "local.patch_px must not exceed crop_px, but 32 > 16" in problems(
        tmp_path, f"search:\n  trials: 9\n  space: {apart.replace('[32', '[16')}\n"
    )[0]  # fmt: skip


def test_what_a_variant_of_its_own_refuses_is_told_with_its_name(tmp_path):
    base = SMALL.replace("{loss.sfp_local: 0}", "{crop_px: 32}")
    found = problems(tmp_path, "search:\n  trials: 9\n  space: {local.patch_px: {int: [16, 64]}}\n", base=base)
    assert "the trainer refuses local.patch_px 40 in no_local_sfp" in found[0]
    assert len(found) == 1


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("{generator.atention: none}", "line 9, search.space.local.patches.when.generator.atention: no such setting"),
        ("{local.layers: 9}", "expected less than or equal to 8, got 9"),
        ("{local.patches: 3}", "conditions in a circle: local.patches, which exists when local.patches has a value"),
        ("{loss.sfp_global: 1}", "loss.sfp_global is a continuous range, which hardly ever has one given value"),
        ("{local.patch_px: [16, 20]}", "local.patch_px is searched, but never has the value 20"),
        ("{local.width: 16}", "local.width is searched, but never has the value 16"),
        ("{local.layers: 2}", "no variant searches it (baseline, no_attention, no_local_sfp: it exists when "
         "local.layers is 2, which is 4 here); remove it"),
    ],
)  # fmt: skip
def test_a_condition_that_can_never_hold_is_told(tmp_path, when, said):
    text = (
        "search:\n  trials: 9\n  space: {local.patches: {int: [1, 4], when: WHEN}, "
        "local.patch_px: {choice: [16, 32]},\n"
        "    loss.sfp_global: {float: [0.1, 1]}, local.width: {int: [24, 32], step: 8}}\n"
    )
    found = problems(tmp_path, text.replace("WHEN", when))
    assert len(found) == 1
    assert said in found[0]


def test_conditions_in_a_circle_are_told_once_and_hide_nothing_else(tmp_path):
    text = (
        "search:\n  trials: 9\n  space:\n"
        "    local.patches: {int: [1, 4], when: {local.patch_px: 16}}\n"
        "    local.patch_px: {choice: [16, 32], when: {local.offsets: apart}}\n"
        "    local.offsets: {choice: [shared, apart], when: {local.patches: [1, 2]}}\n"
        "    loss.gradient: {float: [-1, 1]}\n"
    )
    found = problems(tmp_path, text)
    assert len(found) == 2
    assert "loss.gradient: expected greater than or equal to 0" in found[0]
    assert found[1].startswith(
        "line 10, search.space.local.patches.when: conditions in a circle: local.patches, which exists when "
        "local.patch_px, which exists when local.offsets, which exists when local.patches has a value"
    )


def test_every_circle_is_told_whichever_condition_closes_it(tmp_path):
    text = (
        "search:\n  trials: 9\n  space:\n"
        "    batch: {int: [2, 4], when: {local.layers: 2, local.patches: 1}}\n"
        "    local.layers: {int: [2, 3]}\n"
        "    local.patches: {int: [1, 4], when: {batch: 2}}\n"
        "    global.layers: {int: [1, 2], when: {global.width: 8}}\n"
        "    global.width: {choice: [8, 16], when: {global.layers: 1}}\n"
        "    local.width: {choice: [8, 16], when: {global.width: 8}}\n"  # depends on a circle, and is not blamed
    )
    assert [one.partition(": ")[2] for one in problems(tmp_path, text)] == [
        "conditions in a circle: batch, which exists when local.patches, which exists when batch has a value; remove "
        "one of them",
        "conditions in a circle: global.layers, which exists when global.width, which exists when global.layers has a "
        "value; remove one of them",
    ]


def test_a_setting_that_no_variant_searches_is_told_and_one_that_some_do_is_not(tmp_path):
    space = "{vgg.instance_norm: {choice: [true, false]}, loss.sfp_local: {float: [0.1, 1]}}"
    base = SMALL.replace("  attention: {generator.attention: none}\n", "").replace(
        "patch_px: 32}", "patch_px: 32}, loss: {sfp_global: 0}"
    )
    assert problems(tmp_path, f"search:\n  trials: 9\n  space: {space}\n", base=base) == []  # the baseline does
    never = "{augment.darken_min: {float: [1, 2]}}"
    off = base.replace("sfp_global: 0}", "sfp_global: 0}, augment: {darken: 0}")
    assert problems(tmp_path, f"search:\n  trials: 9\n  space: {never}\n", base=off) == [
        "line 8, search.space.augment.darken_min: no variant searches it (baseline, no_local_sfp: it has no effect "
        "here); remove it"
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("space: {}", "search.space: expected at least one setting to search, got none"),
        ("steps: 200", "search.steps: too few for one setting of every variant: baseline takes 240 steps "
         "(train.steps), got 200"),
        ("{steps: 600, seeds: 3}", "baseline takes 240 steps (train.steps) with each of 3 seeds, got 600"),
        ("{trials: 2, seeds: 3}", "each is trained with 3 seeds (search.seeds), got 2 trials"),
        ("seeds: 4", "search.seeds: expected at most the 3 seeds of the study, or a list of seeds, got 4"),
        ("scheduler: {asha: {first_rung: 240}}", "expected a rung before the last step, which is 240"),
        ("scheduler: {asha: {first_rung: 50}}", "an evaluation step, a multiple of 20 (train.evaluate_every), got 50; "
         "use 40 or 60"),
        ("scheduler: {median: {first_rung: 10}}", "a multiple of 20 (train.evaluate_every), got 10; use 20"),
        ("scheduler: {hyperband: {first_rung: 20, reduction: 3, brackets: 5}}", "expected at most the 4 brackets that "
         "240 steps have room for, from rung 20 by factors of 3, got 5"),
        ("scheduler: {asha: {}, median: {}}", "search.scheduler: expected one scheduler, got asha and median"),
        ("objectives: {eval/luminance_error_levels: up}", "expected 'max' or 'min', got \"up\""),
        ("choose: {best: eval/psnr_db}", "search.choose.best: expected limits on other metrics beside it"),
        ("choose: {best: eval/niqe, where: {eval/ssim: '> 0.5'}}", "search.choose.best: eval/niqe is no "
         "objective of this search"),
        ("choose: {best: eval/psnr_db, weights: {eval/psnr_db: 1}}", "expected `weights`, or `best` and "
         "`where`, got both; remove one"),
        ("choose: {where: {eval/niqe: '<= 4'}}", "search.choose.where: expected `best` beside it"),
        ("choose: {best: eval/psnr_db, where: {eval/nique: '<= 4'}}", "no such metric: eval/nique; did you mean"),
        ("choose: {best: eval/psnr_db, where: {eval/niqe: 4}}", "search.choose.where.eval/niqe: expected a text, "
         "got 4"),
    ],
)  # fmt: skip
def test_each_fault_is_told_in_one_sentence(tmp_path, line, said):
    given = yaml_file.parse_value(line)
    budget = {} if "trials" in given or "steps" in given else {"trials": 9}
    search = {"space": {"loss.sfp_global": {"float": [0.1, 10]}}, **budget, **given}
    found = problems(tmp_path, f"search: {json.dumps(search)}\n")
    assert len(found) == 1
    assert said in found[0]


def test_several_objectives_need_a_weight_each(tmp_path):
    objectives = "  objectives: {eval/psnr_db: max, eval/niqe: min}\n  choose: {weights: {eval/psnr_db: 1}}\n"
    assert problems(tmp_path, f"search:\n  trials: 9\n{SPACE}{objectives}") == [
        "line 11, search.choose.weights: expected a weight for every objective, but eval/niqe has none"
    ]


def test_a_weight_belongs_to_an_objective(tmp_path):
    choose = "  choose: {weights: {eval/ssim: 1, eval/psnr_db: 1}}\n"
    assert problems(tmp_path, f"search:\n  trials: 9\n{SPACE}{choose}") == [
        "line 10, search.choose.weights.eval/ssim: eval/ssim is no objective of this search; they are eval/psnr_db"
    ]


def test_an_objective_needs_references_where_it_is_measured(tmp_path):
    data = "data: {source: folders, low: a, normal: b, evaluate: {x: {low: c}}}\nanalysis: {primary: eval/niqe}\n"
    search = f"search:\n  trials: 9\n  objectives: {{eval/ssim: max, eval/niqe: min}}\n{SPACE}"
    assert problems(tmp_path, search, base=SMALL + data) == [
        "line 11, search.objectives.eval/ssim: eval/ssim needs references, but no set under data.evaluate has "
        "`normal`; add one, or use another metric"
    ]
    paired = data.replace("{low: c}}", "{low: c, normal: d}}, confirm: {y: {low: e}}")
    assert problems(tmp_path, search, base=SMALL + paired) == []  # nothing is confirmed
    assert (
        "no set under data.confirm has `normal`"
        in problems(tmp_path, f"{search}confirm: {{}}\n", base=SMALL + paired)[0]
    )


def test_confirming_on_images_that_the_search_sees_is_refused(tmp_path):
    data = "data: {source: folders, low: a, normal: b, evaluate: {x: {low: c, normal: d}}, confirm: {y: {low: c}}}\n"
    found = problems(tmp_path, f"search:\n  trials: 9\n{SPACE}confirm: {{seeds: 2}}\n", base=SMALL + data)
    assert found[-1] == (
        "line 7, data.confirm.y: the images are those of data.evaluate.x, which the search sees; name others"
    )


@pytest.mark.parametrize("overrides", [{"local.patchez": 1}, {"no.such": 1}, {"local.patches": 0}])
def test_a_variant_that_is_wrong_itself_is_left_to_the_check_of_variants(overrides):
    spec = Spec.model_validate({"study": "s", "components": {"bad": overrides}})
    trainer = trainers.load("trials.trainer")
    whole = Study(spec, trainer, trainer.Config(), trainer.Data())
    search = Search.model_validate({"trials": 9, "space": {"local.patch_px": {"choice": [16, 9000]}}})
    found = Finder({}, [])
    check_search(search, None, whole, found)
    assert [problem.where for problem in found.problems] == ["search.space.local.patch_px"]  # and the rest is checked


def test_confirm_without_a_search_is_refused(tmp_path):
    assert problems(tmp_path, "confirm: {seeds: 2}\n") == [
        "line 7, confirm: confirm belongs to a search, but there is no `search`; add one, or remove it"
    ]
    assert problems(tmp_path, "") == []


def test_what_cannot_be_read_is_blamed_once(tmp_path):
    text = (
        "search:\n  trials: 0\n  space: {loss.sfp_global: {flaot: [0, 1]}}\n"
        "  choose: {best: 3, where: {eval/niqe: x}}\n"
    )
    found = problems(tmp_path, text)
    assert [one.partition(": ")[0].partition(", ")[2] for one in found] == [
        "search.trials", "search.space.loss.sfp_global", "search.choose.best", "search.choose.where",
    ]  # fmt: skip


def test_a_search_over_the_length_of_training_is_checked_at_both_ends(tmp_path):
    search = (
        "search:\n  steps: 400\n  space: {steps: {int: [100, 500], step: 100}}\n"
        "  scheduler: {asha: {first_rung: 100}}\n"
    )
    found = problems(tmp_path, search)
    assert "a budget in steps needs trainings of one length" in " ".join(found)
    assert "baseline takes 500 steps (train.steps), got 400" in " ".join(found)
    assert "expected a rung before the last step, which is 100 (train.steps)" in found[-1]


def test_cautions_say_what_is_only_tried_and_what_has_nothing_to_search(tmp_path):
    space = "  space: {loss.sfp_local: {float: [0.1, 1]}}\n"
    search, confirm, whole, _ = checked(tmp_path, f"{SMALL}search:\n  trials: 9\n{space}confirm: {{}}\n")
    said = cautions(search, confirm, whole)
    assert said[0] == (
        "no_local_sfp has nothing to search (loss.sfp_local: the variant fixes it at 0): it is trained as it stands"
    )
    assert "the mechanics only" in said[1]
    assert "how much is luck" in cautions(search, None, whole)[1]
    assert cautions(None, None, whole) == []
    stopping = search.model_copy(update={"sampler": "gp", "scheduler": Scheduler.model_validate("asha")})
    assert "sampler gp learns nothing from trials that are stopped early" in " ".join(cautions(stopping, None, whole))


def test_a_value_that_fits_no_image_or_file_is_named_before_the_start(tmp_path):
    space = "  space:\n    vgg.weights: {choice: [random, gone.pth]}\n    crop_px: {int: [64, 1024], step: 16}\n"
    whole = study(tmp_path, "train.vgg.weights=random", text=f"{SMALL}search:\n  trials: 9\n{space}")
    found = Finder(whole.lines, [])
    check_fit(whole, found)
    said = [str(problem) for problem in found.problems]
    assert any("search.space.vgg.weights: with" in one and f"{tmp_path}/gone.pth: no such file" in one for one in said)
    assert any("search.space.crop_px: with 1024 baseline cannot be trained" in one for one in said)
    assert not any("no_attention" in one for one in said)  # each fault once


def test_a_set_that_confirms_has_a_name_of_its_own(tmp_path):
    data = "data: {source: folders, low: a, normal: b, evaluate: {x: {low: c}}, confirm: {x: {low: d}}}\n"
    search = f"search:\n  trials: 9\n  objectives: {{eval/niqe: min}}\n{SPACE}confirm: {{}}\n"
    (problem,) = problems(tmp_path, search, base=f"{SMALL}{data}analysis: {{primary: eval/niqe}}\n")
    assert "data.confirm.x: data.evaluate has a set x, too; give this one another name" in problem
