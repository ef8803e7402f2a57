import json
import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from platform import trainer as trainers
from platform import yaml_file
from platform.search_spec import (
    Choose,
    Confirm,
    Distribution,
    Scheduler,
    Search,
    anchor,
    bounds,
    confirm_seeds,
    objectives_of,
    search_seeds,
)

TRAINER = trainers.load("trials.trainer")


def read(model, text):
    return model.model_validate(yaml_file.parse_value(text))


def refused(model, text):
    """Return the one sentence with which a text is refused."""
    with pytest.raises(ValidationError) as caught:
        read(model, text)
    (error,) = caught.value.errors()
    return str(error["ctx"]["error"]) if error["type"] == "value_error" else error["msg"]


def test_everything_but_the_budget_and_the_space_has_a_default():
    found = read(Search, "{trials: 20, space: {loss.sfp_global: {float: [0.1, 10], log: true}}}")
    assert (found.sampler, found.repeats, found.scheduler.kind, found.choose.knee) == ("tpe", 1, "none", True)
    assert found.space["loss.sfp_global"].float_ == [0.1, 10]
    assert Confirm().seeds == 5


@pytest.mark.parametrize(
    ("text", "kind", "condition"),
    [
        ("{float: [1e-5, 1e-2], log: true}", "float", {}),
        ("{float: [0, 1], step: 0.1}", "float", {}),
        ("{int: [1, 9], step: 4, when: {a.b: 3}}", "int", {"a.b": [3]}),
        ("{choice: [null, 1e-4, low], when: {a: [1, 2], b: false}}", "choice", {"a": [1, 2], "b": [False]}),
    ],
)
def test_distributions_are_read_and_written_as_a_spec_holds_them(text, kind, condition):
    found = read(Distribution, text)
    assert (found.kind, found.when) == (kind, condition)
    again = json.loads(json.dumps(found.model_dump(mode="json", by_alias=True)))
    assert Distribution.model_validate(again) == found
    assert again.keys() == yaml_file.parse_value(text).keys()  # nothing that was not said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("3", "expected one of `float: [low, high]`, `int: [low, high]` and `choice: [value, value, ...]`, got 3"),
        ("{}", "and `choice: [value, value, ...]`, got none of them"),
        ("{float: [0, 1], int: [0, 1]}", "got float and int"),
        ("{flaot: [0, 1]}", "unknown key `flaot`; valid are float, int, choice, log, step and when; expected one of"),
        ("{float: [1]}", "expected `float: [low, high]`, two finite numbers, got [1]"),
        ("{float: [0, .inf]}", "two finite numbers, got [0, Infinity]"),
        ("{float: [a, b]}", 'two finite numbers, got ["a", "b"]'),
        ("{int: [0.5, 2]}", "expected `int: [low, high]`, two whole numbers, got [0.5, 2]"),
        ("{int: [false, true]}", "two whole numbers, got [false, true]"),
        ("{int: [3, 1]}", "the range is inverted: expected the low end first, got [3, 1]"),
        ("{float: [2, 2.0]}", "the range is empty: [2, 2.0] holds one value, which belongs into `train`"),
        ("{float: [0, 1], log: true}", "a log range holds numbers above 0 alone, got [0, 1]"),
        ("{int: [-1, 1], log: true}", "a log range holds numbers above 0 alone, got [-1, 1]"),
        ("{float: [0, 1], log: 1}", "expected log: true or false, got 1"),
        ("{float: [1, 2], log: true, step: 0.5}", "expected `log` or `step`, got both; remove one"),
        ("{float: [0, 1], step: 0}", "expected step: a number above 0, got 0"),
        ("{int: [0, 4], step: 0.5}", "expected step: a whole number above 0, got 0.5"),
        ("{float: [0, 1], step: 2}", "step 2 is wider than the range [0, 1], which leaves one value"),
        ("{float: [0, 1], step: 0.3}", "the range [0, 1] is no multiple of its step 0.3; move an end"),
        ("{choice: [1]}", "expected two values or more to choose from, got [1]; one alone belongs into `train`"),
        ("{choice: []}", "expected two values or more to choose from, got []"),
        ("{choice: [a, b, a]}", '"a" stands twice among the choices ["a", "b", "a"]; remove one'),
        ("{choice: [1, 1.0]}", "1.0 stands twice"),
        ("{choice: [1, [2]]}", "expected a list of numbers, texts, true, false or null to choose from, got [1, [2]]"),
        ("{choice: [1, .nan]}", "expected a list of numbers, texts, true, false or null"),
        ("{choice: [1, 2], log: true}", "`log` belongs to a range, not to a choice"),
        ("{int: [1, 2], when: local}", 'expected when: {setting: value or [value, ...]}, got "local"'),
        ("{int: [1, 2], when: {a: []}}", "expected when: a value of a, or a list of values, got []"),
    ],
)
def test_each_fault_of_a_distribution_is_a_sentence(text, said):
    assert said in refused(Distribution, text)


def test_two_faults_of_a_distribution_are_both_told():
    assert refused(Distribution, "{float: [1, -1], log: true}") == (
        "the range is inverted: expected the low end first, got [1, -1]; "
        "a log range holds numbers above 0 alone, got [1, -1]; raise its low end, or remove `log`"
    )


def test_steps_are_divided_as_decimals():
    assert read(Distribution, "{float: [0.1, 0.7], step: 0.2}").step == 0.2  # 0.6 % 0.2 is 0.2 in binary


@pytest.mark.parametrize(
    ("text", "kind", "rules"),
    [
        ("none", "none", None),
        ("asha", "asha", {"first_rung": None, "reduction": 3}),
        ("{asha: {first_rung: 100, reduction: 4}}", "asha", {"first_rung": 100, "reduction": 4}),
        ("{hyperband: {first_rung: 9, brackets: 2}}", "hyperband", {"first_rung": 9, "reduction": 3, "brackets": 2}),
        ("{median: }", "median", {"first_rung": None, "warm_up_trials": 3}),
    ],
)
def test_schedulers_are_read_and_written_as_a_spec_holds_them(text, kind, rules):
    found = read(Scheduler, text)
    assert found.kind == kind
    assert (found.rules and found.rules.model_dump()) == rules
    assert Scheduler.model_validate(found.model_dump(mode="json")) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ahsa", 'expected none, asha, hyperband, median, or one of them with its settings, got "ahsa"'),
        ("{asha: {}, median: {}}", "expected one scheduler, got asha and median; remove one"),
        ("{asha: {reduction: 1}}", "greater than or equal to 2"),
        ("{asha: {first_rung: 0}}", "greater than or equal to 1"),
        ("{asha: {brackets: 2}}", "Extra inputs"),
    ],
)
def test_each_fault_of_a_scheduler_is_a_sentence(text, said):
    assert said in refused(Scheduler, text)


def test_rules_of_choice_are_read_and_written_as_a_spec_holds_them():
    for text in ("knee", "{weights: {eval/niqe: 2}}", "{best: eval/ssim, where: {eval/niqe: '<= 4'}}"):
        found = read(Choose, text)
        assert Choose.model_validate(found.model_dump(mode="json")) == found
        assert found.knee == (text == "knee")
    assert "expected knee, {weights" in refused(Choose, "elbow")
    assert "greater than 0" in refused(Choose, "{weights: {eval/niqe: 0}}")
    assert refused(Choose, "{best: a, where: {b: '=< 4', c: '> 1'}}") == (
        'expected limits such as `<= 4` or `> 0.5`, got b: "=< 4"'
    )


@pytest.mark.parametrize(
    ("limit", "low", "high"),
    [
        ("<= 4", -math.inf, 4), ("<4", -math.inf, 3.9999999999999996), (">= -1.5e1", -15, math.inf),
        ("> .5", 0.5000000000000001, math.inf),
    ],
)  # fmt: skip
def test_a_limit_is_the_range_of_what_keeps_within_it(limit, low, high):
    assert bounds(limit) == (low, high)
    with pytest.raises(ValueError, match="expected a limit such as"):
        bounds("4")


def test_the_objective_is_the_primary_metric_unless_named():
    assert objectives_of(Search(), "eval/psnr_db", TRAINER.METRICS) == {"eval/psnr_db": "max"}
    assert objectives_of(Search(), "eval/niqe", TRAINER.METRICS) == {"eval/niqe": "min"}
    named = read(Search, "{objectives: {eval/loe: min}}")
    assert objectives_of(named, "eval/niqe", TRAINER.METRICS) == {"eval/loe": "min"}
    with pytest.raises(ValueError, match="eval/loe has no direction; name the search's objectives"):
        objectives_of(Search(), "eval/loe", TRAINER.METRICS)


def test_the_search_takes_the_studys_first_seeds_and_confirming_takes_none_of_them():
    assert search_seeds(Search(), [11, 12, 13]) == [11]
    assert search_seeds(read(Search, "{seeds: 2}"), [11, 12, 13]) == [11, 12]
    assert search_seeds(read(Search, "{seeds: [3]}"), [11, 12, 13]) == [3]
    assert confirm_seeds(Confirm(seeds=4), [11], [11, 12, 13]) == [12, 13, 14, 15]
    assert confirm_seeds(Confirm(seeds=2), [20, 21], [11]) == [11, 22]
    assert confirm_seeds(Confirm(seeds=[7, 9]), [11], [11]) == [7, 9]


@pytest.mark.parametrize("text", ["{seeds: 0}", "{seeds: [1, 1]}", "{seeds: []}", "{seeds: true}", "{seeds: [-1]}"])
def test_seeds_that_are_none_are_refused(text):
    for model in (Search, Confirm):
        assert "expected a number of seeds from 1 to 10000, or a list of different seeds" in refused(model, text)


def test_a_search_is_read_again_from_what_is_stored_of_it():
    found = read(
        Search,
        "{steps: 900, total: {hours: 2}, objectives: {eval/niqe: min}, sampler: gp, scheduler: {median: {}}, "
        "space: {a: {int: [1, 8], log: true}, b: {choice: [1, 2], when: {a: [1, 2]}}}, start: earlier}",
    )
    assert found.start == ["earlier"]
    assert Search.model_validate(json.loads(json.dumps(found.model_dump(mode="json", by_alias=True)))) == found


def test_files_among_the_choices_lie_beside_the_spec():
    raw = {
        "space": {
            "vgg.weights": {"choice": ["random", "mine.pth"], "when": {"init": ["a.pth", None]}},
            "init": {"choice": [None, "a.pth"], "when": {"vgg.weights": "mine.pth"}},
            "broken": 3,
        }
    }
    anchor(raw, Path("/specs"), TRAINER)
    assert raw["space"]["vgg.weights"] == {
        "choice": ["random", "/specs/mine.pth"], "when": {"init": ["/specs/a.pth", None]},
    }  # fmt: skip
    assert raw["space"]["init"] == {"choice": [None, "/specs/a.pth"], "when": {"vgg.weights": "/specs/mine.pth"}}
    for nothing in (None, 3, {}, {"space": None}):
        anchor(nothing, Path("/specs"), TRAINER)
