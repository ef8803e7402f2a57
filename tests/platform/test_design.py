import pytest
from pydantic import BaseModel

from platform.design import changes, configured, inert, variants
from platform.spec import Spec
from tests.platform.specs import study


def named(found):
    return {variant.name: variant for variant in variants(found.spec)}


def test_leave_one_out_takes_each_component_out_of_the_full_model(tmp_path):
    found = named(study(tmp_path))
    assert list(found) == ["baseline", "no_attention", "no_local_sfp"]
    assert found["no_attention"].overrides == {"generator.attention": "none"}
    assert (found["no_attention"].compared_to, found["no_attention"].present) == ("baseline", False)


def test_add_one_in_keeps_the_full_model_and_adds_each_component_to_the_bare_one(tmp_path):
    found = named(study(tmp_path, "design=add-one-in"))
    assert list(found) == ["baseline", "bare", "only_attention", "only_local_sfp"]
    assert found["bare"].overrides == {"generator.attention": "none", "loss.sfp_local": 0}
    assert found["only_attention"].overrides == {"loss.sfp_local": 0}
    assert (found["only_attention"].compared_to, found["only_attention"].present) == ("bare", True)


def test_a_list_by_hand_is_taken_as_written(tmp_path):
    text = "study: s\ndesign: list\nvariants: {small: {generator.width: 16}}\n"
    found = named(study(tmp_path, text=text))
    assert found["small"].overrides == {"generator.width": 16}
    assert found["small"].component is None


def test_a_placebo_is_the_full_model_under_other_seeds(tmp_path):
    placebo = named(study(tmp_path, "control.placebo=true"))["placebo"]
    assert placebo.overrides == {}
    assert placebo.stream == "placebo"


def test_overrides_change_what_they_name_and_nothing_else(tmp_path):
    found = study(tmp_path)
    changed = configured(type(found.config), found.config, {"local.patch_px": 16, "global.layers": 2})
    assert (changed.local.patch_px, changed.global_.layers) == (16, 2)
    back = configured(type(found.config), changed, {"local.patch_px": 32, "global.layers": 5})
    assert back == found.config


class Inert:
    """A trainer of which some settings mean nothing under others."""

    class Config(BaseModel):
        attention: str = "map"
        attend: dict[str, bool] = {"input": True, "skips": True}
        local: dict[str, int] = {"patches": 6, "size": 32}
        layer: int = 1

    @staticmethod
    def canonical(config):
        settings = config.model_dump()
        if config.attention == "none":
            del settings["attend"]
        if settings["local"]["patches"] == 0:
            settings["local"] = {"patches": 0}
            settings["layer"] = 9  # another value, but it still means something
        return settings


@pytest.mark.parametrize(
    ("overrides", "gone"),
    [
        ({}, []),
        ({"attention": "none"}, ["attend"]),  # the section as a whole
        ({"local.patches": 0}, ["local.size"]),
        ({"local.patches": 0, "local.size": 16}, []),  # named by the override itself
        ({"attention": "none", "attend": {"input": False}}, []),
        ({"attention": "none", "local.patches": 0}, ["attend", "local.size"]),
    ],
)
def test_what_a_variant_leaves_without_effect_is_found_from_what_the_trainer_drops(overrides, gone):
    assert inert(Inert, Inert.Config(), overrides) == gone


def test_the_real_trainer_says_what_goes_with_its_parts(tmp_path):
    found = study(tmp_path)
    assert "local.layers" in inert(found.trainer, found.config, {"local.discriminator": False})
    assert inert(found.trainer, found.config, {"batch": 3}) == []


def test_changes_are_those_from_the_variant_that_it_is_compared_with(tmp_path):
    made = study(tmp_path, "design=add-one-in")
    found = named(made)
    assert changes(found["only_attention"], found["bare"], made.config) == {"generator.attention": "self_regularised"}
    assert changes(found["bare"], found["baseline"], made.config) == found["bare"].overrides
    assert changes(found["baseline"], found["baseline"], made.config) == {}


FOUR = (
    "study: s\ncomponents: {a: {batch: 2}, b: {local.patches: 3}, c: {loss.sfp_local: 0}, d: {generator.width: 16}}\n"
)


def test_a_full_factorial_takes_every_set_of_components_out(tmp_path):
    found = named(study(tmp_path, "design=factorial", text=FOUR))
    assert len(found) == 16
    assert len({one.out for one in found.values()}) == 16
    assert found["no_a+c"].overrides == {"batch": 2, "loss.sfp_local": 0}
    assert (found["no_a+c"].component, found["no_a+c"].compared_to) == (None, None)
    assert (found["no_b"].component, found["no_b"].compared_to, found["no_b"].out) == ("b", "baseline", ("b",))
    assert found["baseline"].out == ()


def test_a_fraction_of_resolution_4_takes_an_even_number_of_four_components_out(tmp_path):
    # by hand: with d = a x b x c and the full model in it, the word abcd is +, so the signs - come in pairs
    found = named(study(tmp_path, "design={fractional: IV}", text=FOUR))
    assert sorted(len(one.out) for one in found.values()) == [0, 2, 2, 2, 2, 2, 2, 4]


def test_orders_need_the_full_model_the_bare_one_and_what_lies_between(tmp_path):
    made = study(tmp_path, "design={orders: 20}", text=FOUR)
    found = named(made)
    assert {0, 1, 2, 3, 4} == {len(one.out) for one in found.values()}
    assert len(found) <= 16
    assert list(found) == list(named(made))


def test_studies_draw_orders_of_their_own_and_a_study_that_asks_for_more_keeps_its_variants():
    def drawn(name, count):
        spec = Spec(study=name, components={letter: {letter: 0} for letter in "abcdefg"}, design={"orders": count})
        return {one.out for one in variants(spec)}

    assert drawn("one", 24) == drawn("one", 24)
    assert drawn("one", 24) < drawn("one", 32)
    assert len(drawn("one", 24) - drawn("two", 24)) > 10


def test_long_names_give_way_to_numbers(tmp_path):
    parts = ", ".join(f"{letter * 30}: {{{setting}}}" for letter, setting in zip("abc", SETTINGS, strict=True))
    found = named(study(tmp_path, "design=factorial", text=f"study: s\ncomponents: {{{parts}}}\n"))
    assert f"no_{'a' * 30}+{'b' * 30}" in found
    assert [name for name in found if name.startswith("run_")] == ["run_8"]


SETTINGS = ("batch: 2", "local.patches: 3", "loss.sfp_local: 0")
