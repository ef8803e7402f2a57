import itertools
import math

import pytest

from platform import trainer as trainers
from platform.design import Variant, configured
from platform.search_space import (
    EXHAUSTIVE,
    Parameter,
    active,
    combinations,
    compared,
    contains,
    ordered,
    placed,
    point,
    probes,
    settings,
    snapped,
    space_of,
    to_optuna,
)
from platform.search_spec import Distribution

TRAINER = trainers.load("trials.trainer")
CONFIG = TRAINER.Config.model_validate({"crop_px": 64, "local": {"patch_px": 32}})
BASELINE = Variant("baseline")
NO_PATCHES = Variant("no_patches", {"local.discriminator": False, "loss.sfp_local": 0})
NO_LOCAL = Variant("no_local", {"local.discriminator": False})


def space(**distributions):
    """Return a space; the dots of paths are written as two underscores."""
    return {path.replace("__", "."): Distribution.model_validate(one) for path, one in distributions.items()}


def searched(variant, **distributions):
    return space_of(variant, space(**distributions), trainer=TRAINER, config=CONFIG)


def paths(parameters):
    return [one.path for one in parameters]


PATCHES = {"local__patch_px": {"choice": [16, 24, 32]}, "local__patches": {"int": [1, 8]}}
WEIGHT = {"loss__sfp_global": {"float": [0.1, 10], "log": True}}


@pytest.mark.parametrize(
    ("variant", "kept", "left_out"),
    [
        (BASELINE, ["local.patch_px", "local.patches", "loss.sfp_global"], {}),
        (NO_LOCAL, ["local.patch_px", "local.patches", "loss.sfp_global"], {}),  # its features need the patches
        (NO_PATCHES, ["loss.sfp_global"],
         {"local.patch_px": "it has no effect here", "local.patches": "it has no effect here"}),
        (Variant("no_sfp", {"loss.sfp_global": 0}), ["local.patch_px", "local.patches"],
         {"loss.sfp_global": "the variant fixes it at 0"}),
    ],
)  # fmt: skip
def test_a_variant_leaves_out_what_it_fixes_and_what_means_nothing_in_it(variant, kept, left_out):
    parameters, reasons = searched(variant, **PATCHES, **WEIGHT)
    assert (paths(parameters), reasons) == (kept, left_out)


def test_what_another_parameter_can_give_a_meaning_stays():
    both = {"local__discriminator": {"choice": [True, False]}, "loss__sfp_local": {"choice": [0, 0.5]}}
    parameters, reasons = space_of(
        BASELINE, space(**PATCHES, **both), trainer=TRAINER,
        config=configured(TRAINER.Config, CONFIG, {"local.discriminator": False, "loss.sfp_local": 0}),
    )  # fmt: skip
    assert reasons == {}
    assert len(parameters) == 4
    # but a weight of 0 alone gives none, whatever its range would be elsewhere
    assert searched(NO_PATCHES, **PATCHES, generator__norm_splits={"int": [1, 2]})[1].keys() == {
        "local.patch_px", "local.patches",
    }  # fmt: skip


def test_an_effect_that_only_the_middle_or_one_end_has_counts():
    # below four pools the layer relu4_1 leaves three; 3 and 4 pools are the same, 0 is another
    _, reasons = space_of(
        BASELINE, space(vgg__max_pools={"int": [3, 4]}), trainer=TRAINER,
        config=configured(TRAINER.Config, CONFIG, {"vgg.layer": "relu4_1"}),
    )  # fmt: skip
    assert reasons == {"vgg.max_pools": "it has no effect here"}
    assert searched(BASELINE, vgg__max_pools={"int": [2, 3]})[1] == {}
    # the flat share matters but at 1, where the schedule ends
    assert searched(BASELINE, optimiser__flat={"float": [0.5, 1]}, optimiser__epoch_steps={"int": [8, 32]})[1] == {}
    assert searched(Variant("c", {"optimiser.schedule": "constant"}), optimiser__flat={"float": [0.5, 1]})[1] == {
        "optimiser.flat": "it has no effect here"
    }


def test_conditions_are_settled_for_each_variant():
    given = {
        "generator__attention": {"choice": ["self_regularised", "turned"]},
        "generator__attend__input": {"choice": [True, False], "when": {"generator.attention": "turned"}},
        "local__patches": {"int": [1, 8], "when": {"local.discriminator": True}},
    }
    parameters, reasons = searched(BASELINE, **given)
    assert reasons == {}
    assert [dict(one.when) for one in parameters] == [{}, {"generator.attention": ("turned",)}, {}]
    parameters, reasons = searched(Variant("v", {"generator.attention": "none", "local.discriminator": False}), **given)
    assert parameters == []
    assert reasons == {
        "generator.attention": 'the variant fixes it at "none"',
        "generator.attend.input": 'it exists when generator.attention is "turned", which is "none" here',
        "local.patches": "it exists when local.discriminator is true, which is false here",
    }


def test_what_depends_on_a_setting_that_does_not_exist_does_not_exist():
    given = {
        "local__patch_px": {"choice": [16, 32], "when": {"local.discriminator": True}},
        "local__patches": {"int": [1, 8], "when": {"local.patch_px": 32}},  # which is the full model's value
    }
    assert searched(NO_LOCAL, **given)[1]["local.patches"] == (
        "it exists when local.patch_px is 32, which does not exist here"
    )


def test_parameters_come_after_those_they_depend_on():
    given = space(
        a={"int": [1, 2], "when": {"b": 1}}, b={"int": [1, 2], "when": {"c": 1}}, c={"int": [1, 2]}, d={"int": [0, 1]}
    )
    assert paths(ordered(given)) == ["c", "b", "a", "d"]
    with pytest.raises(ValueError, match="conditions in a circle: a, b"):
        ordered(space(a={"int": [1, 2], "when": {"b": 1}}, b={"int": [1, 2], "when": {"a": 1}}, c={"int": [1, 2]}))


def test_settings_hold_the_variants_own_and_the_active_values():
    given = {
        "generator__attention": {"choice": ["self_regularised", "turned"]},
        "generator__attend__input": {"choice": [True, False], "when": {"generator.attention": "turned"}},
    }
    variant = Variant("no_sfp", {"loss.sfp_global": 0})
    parameters, _ = searched(variant, **given)
    values = {"generator.attention": "turned", "generator.attend.input": False}
    assert settings(variant, parameters, values) == {"loss.sfp_global": 0, **values}
    idle = {**values, "generator.attention": "self_regularised"}
    assert active(parameters, idle) == {"generator.attention": "self_regularised"}
    with pytest.raises(KeyError):
        active(parameters, {"generator.attention": "turned"})


def test_a_condition_on_an_inactive_parameter_does_not_hold():
    parameters = ordered(
        space(a={"choice": [0, 1]}, b={"choice": [0, 1], "when": {"a": 1}}, c={"choice": [0, 1], "when": {"b": 1}})
    )
    assert active(parameters, {"a": 0, "b": 1, "c": 1}) == {"a": 0}
    assert active(parameters, {"a": 1, "b": 1, "c": 0}) == {"a": 1, "b": 1, "c": 0}


def test_equal_points_are_the_same_text():
    parameters = ordered(space(a={"float": [0, 1], "step": 0.1}, b={"int": [1, 9]}, c={"float": [0, 3]}))
    one = active(parameters, {"a": 0.1 + 0.2, "b": 2.0, "c": 1})
    two = active(parameters, {"c": 1.0, "a": 0.3, "b": 2})
    assert point(one) == point(two) == '{"a":0.3,"b":2,"c":1.0}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        point({"a": math.nan})


def test_probes_are_both_ends_and_the_middle():
    parameters = ordered(
        space(
            a={"float": [0.01, 100], "log": True}, b={"float": [0, 1]}, c={"int": [1, 9], "step": 4}, d={"int": [1, 2]}
        )
    )
    assert [probes(one) for one in parameters] == [
        [0.01, pytest.approx(1), 100], [0, 0.5, 1], [1, 5, 9], [1, 2],
    ]  # fmt: skip


def test_combinations_are_all_or_hold_every_pair():
    few = ordered(space(a={"choice": [1, 2]}, b={"int": [1, 3]}))
    assert list(combinations(few)) == [{"a": a, "b": b} for a in (1, 2) for b in (1, 2, 3)]
    many = ordered(space(**{f"p{n}": {"float": [0, 1]} for n in range(9)}))
    found = list(combinations(many))
    assert len(found) < 3**9
    assert len(found) > EXHAUSTIVE / 2
    for one, two in itertools.combinations(range(9), 2):
        assert {(each[f"p{one}"], each[f"p{two}"]) for each in found} == set(itertools.product((0, 0.5, 1), repeat=2))
    assert found == list(combinations(many))


def test_a_large_space_finds_what_has_no_effect_too():
    weights = ("sfp_global", "sfp_local", "colour_constancy", "identity", "gradient", "total_variation")
    given = {f"loss__{name}": {"float": [0.1, 1]} for name in weights}
    given |= {"batch": {"int": [1, 9]}, "augment__darken": {"float": [0.1, 1]}, "optimiser__flat": {"float": [0, 0.9]}}
    _, reasons = searched(Variant("v", {"local.discriminator": False}), **given, local__layers={"int": [1, 3]},
                          local__patches={"int": [1, 3]}, generator__width={"int": [8, 16]})  # fmt: skip
    assert reasons == {"local.layers": "it has no effect here"}


DISTRIBUTIONS = [
    {"float": [0.1, 10]},
    {"float": [0.1, 10], "log": True},
    {"float": [0.1, 0.7], "step": 0.2},
    {"int": [1, 9], "step": 4},
    {"int": [1, 100], "log": True},
    {"choice": [None, 1, "a", True]},
]


@pytest.mark.parametrize("distribution", [one for one in DISTRIBUTIONS if one != {"choice": [None, 1, "a", True]}])
def test_optuna_agrees_on_what_a_parameter_can_be(distribution):
    (parameter,) = ordered(space(a=distribution))
    optunas = to_optuna(parameter)
    assert (optunas.low, optunas.high, optunas.log) == (parameter.low, parameter.high, parameter.log)
    for value in (0, 0.1, 0.3, 0.30000000000000004, 0.4, 0.7, 0.8, 1, 2, 5, 9, 10, 11, 100, 101):
        if (parameter.kind == "float" or isinstance(value, int)) and (value > 0 or not parameter.log):
            assert contains(parameter, value) == optunas._contains(optunas.to_internal_repr(value)), value
    assert not contains(parameter, math.nan)
    assert not contains(parameter, "1")
    assert not contains(parameter, True)


def test_what_optuna_proposes_is_in_the_space_and_keeps_its_type():
    import optuna

    parameters = ordered(space(**{f"p{n}": one for n, one in enumerate(
        [*DISTRIBUTIONS[:-1], {"choice": [None, 1, "a"]}]
    )}))  # fmt: skip
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(30):
        values = study.ask({one.path: to_optuna(one) for one in parameters}).params
        chosen = active(parameters, values)
        assert all(contains(one, chosen[one.path]) for one in parameters)
        assert {type(chosen[f"p{n}"]) for n in (3, 4)} == {int}
        assert chosen["p2"] in (0.1, 0.3, 0.5, 0.7)


def test_a_choice_tells_true_from_one():
    (parameter,) = ordered(space(a={"choice": [True, False]}))
    assert contains(parameter, True)
    assert not contains(parameter, 1)
    assert snapped(parameter, True) is True


def trained(overrides, config=CONFIG):
    """Return a trial's settings as the ledger holds them."""
    return configured(TRAINER.Config, config, overrides).model_dump(mode="json", by_alias=True)


def test_earlier_trials_lie_in_a_changed_space_or_not():
    observed = trained({"loss.sfp_global": 5.0, "local.patch_px": 16})

    def place(*, config=CONFIG, variant=BASELINE, **distributions):
        parameters, _ = space_of(variant, space(**distributions), trainer=TRAINER, config=config)
        return placed(variant, parameters, observed, trainer=TRAINER, config=config)

    patch = {"local__patch_px": {"choice": [16, 32]}}
    here = {"loss.sfp_global": 5.0, "local.patch_px": 16}
    assert place(**WEIGHT, **patch) == here
    assert place(loss__sfp_global={"float": [0.1, 4]}, **patch) == (
        "loss.sfp_global was 5.0, which is not in the space any more"
    )
    assert place(loss__sfp_global={"float": [0.1, 100]}, **patch) == here
    assert place(**WEIGHT) == "local.patch_px was 16 and is 32"  # taken out of the search
    at16 = configured(TRAINER.Config, CONFIG, {"local.patch_px": 16})
    assert place(**WEIGHT, config=at16) == {"loss.sfp_global": 5.0}  # fixed at the value it had
    assert place(**WEIGHT, **patch, local__patches={"int": [1, 8]}) == {
        **here,
        "local.patches": 6,
    }  # the default so far
    assert place(**WEIGHT, **patch, local__patches={"int": [1, 4]}) == (
        "local.patches was 6, which is not in the space any more"
    )
    longer = configured(TRAINER.Config, CONFIG, {"steps": 9})
    assert place(**WEIGHT, **patch, config=longer) == "steps was 6400 and is 9"
    # what means nothing in the variant is no difference
    gone = trained({**NO_PATCHES.overrides, "local.patches": 3})
    parameters, _ = searched(NO_PATCHES, **WEIGHT, **PATCHES)
    assert placed(NO_PATCHES, parameters, gone, trainer=TRAINER, config=CONFIG) == {"loss.sfp_global": 1.0}
    assert "local.discriminator was false and is true" in placed(
        BASELINE, searched(BASELINE, **WEIGHT)[0], trained(NO_LOCAL.overrides), trainer=TRAINER, config=CONFIG
    )
    unknown = {**observed, "no_such": 1}
    assert placed(BASELINE, [], unknown, trainer=TRAINER, config=CONFIG) == (
        "the trainer does not know its settings any more"
    )


def test_an_inactive_parameter_of_an_earlier_trial_has_the_full_models_value():
    given = space(
        generator__attention={"choice": ["self_regularised", "turned"]},
        generator__attend__input={"choice": [True, False], "when": {"generator.attention": "turned"}},
    )
    parameters, _ = space_of(BASELINE, given, trainer=TRAINER, config=CONFIG)
    turned = {"generator.attention": "turned", "generator.attend.input": False}
    assert placed(BASELINE, parameters, trained(turned), trainer=TRAINER, config=CONFIG) == turned
    other = {**turned, "generator.attention": "self_regularised"}
    assert placed(BASELINE, parameters, trained(other), trainer=TRAINER, config=CONFIG) == (
        "generator.attend.input was false and is true"
    )


@pytest.mark.parametrize(
    ("before", "now", "what"),
    [
        ({"float": [1, 2]}, {"float": [1, 3]}, "wider"),
        ({"float": [1, 3]}, {"float": [1, 2]}, "narrower"),
        ({"float": [1, 3]}, {"float": [2, 4]}, "changed"),
        ({"float": [0, 1], "step": 0.2}, {"float": [0, 1], "step": 0.1}, "wider"),
        ({"float": [0, 1], "step": 0.2}, {"float": [0, 1]}, "wider"),
        ({"int": [1, 8]}, {"int": [2, 8], "step": 2}, "narrower"),
        ({"int": [1, 8]}, {"float": [1, 8]}, "changed"),
        ({"choice": [1, 2]}, {"choice": [1, 2, 3]}, "wider"),
        ({"choice": [1, 2]}, {"choice": [2, 3]}, "changed"),
        ({"float": [1, 2]}, {"float": [1, 2], "log": True}, "changed"),  # the same values, drawn otherwise
        ({"float": [1, 2]}, {"float": [1, 3], "when": {"b": 1}}, "changed"),
    ],
)
def test_spaces_are_compared(before, now, what):
    two = [[Parameter("a", **read(one))] for one in (before, now)]
    assert compared(*two) == {"a": what}
    assert compared(two[0], two[0]) == {}


def read(distribution):
    """Return the fields of a parameter but its path."""
    (one,) = ordered(space(a=distribution))
    return {name: value for name, value in vars(one).items() if name != "path"}


def test_parameters_come_and_go():
    one, two = (ordered(space(**{name: {"int": [1, 2]}})) for name in ("a", "b"))
    assert compared(one, two) == {"a": "gone", "b": "new"}
