"""Which settings are refused, in which words; and which are inert, so that they make no other trial."""

import json
import os

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from trials.batches import Batches
from trials.canonical import canonical
from trials.checkpoint import save_generator
from trials.config import Config, Data
from trials.randomness import Streams
from trials.steps import build, step
from trials.train import learning_rate

CPU = torch.device("cpu")
NO_DISCRIMINATORS = {"global.discriminator": False, "local.discriminator": False}
NO_FEATURES = {"loss.sfp_global": 0, "loss.sfp_local": 0}
NO_PATCHES = {"local.discriminator": False, "loss.sfp_local": 0}

# Settings, and others that differ where it makes no difference.
INERT = [
    ({"local.patches": 5, "local.patch_px": 8, "local.offsets": "apart", "local.border": "official"}, NO_PATCHES),
    ({"local.layers": 3, "local.width": 7}, {"local.discriminator": False}),
    ({"local.discriminator": False}, {"loss.local_weight": 0}),
    ({"loss.local_weight": 2.0, "loss.local_adversarial": "hinge"}, {"local.discriminator": False}),
    ({"global.layers": 3, "global.width": 7}, {"global.discriminator": False}),
    ({"global.discriminator": False}, {"loss.global_weight": 0}),
    ({"loss.global_weight": 2.0, "loss.global_adversarial": "hinge"}, {"global.discriminator": False}),
    ({"vgg.layer": "relu2_1", "vgg.input": "centred", "vgg.instance_norm": False}, NO_FEATURES),
    ({"loss.sfp_target": "input", "vgg.weights": "imagenet"}, NO_FEATURES),
    ({"vgg.max_pools": 0}, {}),  # relu1_1 lies before every pool
    ({"vgg.max_pools": 2}, {"vgg.layer": "relu2_2", "vgg.max_pools": 1}),
    ({"generator.attend.skips": False}, {"generator.skips": False}),
    ({"generator.attend": {"input": False, "skips": False, "bottleneck": False, "residual": False}},
     {"generator.attention": "none"}),
    ({"generator.attend": {"input": False, "skips": True, "bottleneck": False, "residual": False}},
     {"generator.attention": "none", "generator.skips": False}),
    ({"generator.attend": {"input": False, "residual": False}}, {"generator.attention": "none"}),
    ({"generator.attend": {"skips": False, "residual": False}}, {"generator.attention": "constant"}),
    ({"generator.attend": {"input": False}, "generator.attention": "constant"}, {"generator.attention": "none"}),
    ({"generator.norm_splits": 2}, {"generator.norm": "instance"}),
    ({"generator.norm_splits": 2}, {"generator.norm": "none"}),
    ({"optimiser.discriminator_learning_rate": 1e-3}, {}),
    ({"optimiser.discriminator_learning_rate": 2e-3}, NO_DISCRIMINATORS),
    ({"optimiser.period_steps": 4}, {}),
    ({"optimiser.after": "restart"}, {}),
    ({"optimiser.after": "restart", "optimiser.period_steps": 4}, {}),
    ({"optimiser.after": "restart"}, {"optimiser.period_steps": 9}),
    ({"optimiser.flat": 0.1, "optimiser.epoch_steps": 3, "optimiser.period_steps": 2, "optimiser.after": "restart"},
     {"optimiser.schedule": "constant"}),
    ({"optimiser.schedule": "halving", "optimiser.epoch_steps": 3, "optimiser.period_steps": 2},
     {"optimiser.flat": 1.0}),
    ({"optimiser.flat": 1.0}, {"optimiser.schedule": "constant"}),
    ({"stabilise.r1_every": 3}, {}),
    ({"stabilise.r1": 1.0, "stabilise.r1_every": 2}, NO_DISCRIMINATORS),
    ({"stabilise.spectral_norm": True, "stabilise.pool": 5}, NO_DISCRIMINATORS),
    ({"watch.duality_gap_steps": 5}, NO_DISCRIMINATORS),
    ({"loss.convention": "paper"}, NO_DISCRIMINATORS | NO_FEATURES | {"loss.identity": 1.0}),
    ({"augment.darken_min": 1.5, "augment.darken_max": 9.0}, {"augment.darken": 0}),
    ({"loss.sfp_target": "input"}, {"augment.darken": 0}),
]  # fmt: skip
# Settings, and others with which they do make a difference: the same pairs without what made them inert, and the like.
EFFECTIVE = [
    ({"local.patches": 5}, {"local.discriminator": False}),  # the feature loss looks at them
    ({"local.patches": 5}, {"loss.sfp_local": 0}),
    ({"local.offsets": "apart"}, {"local.discriminator": False}),
    ({"local.layers": 3}, {"loss.sfp_local": 0}),
    ({"loss.local_adversarial": "hinge"}, {"global.discriminator": False}),
    ({"loss.global_adversarial": "hinge"}, {"local.discriminator": False}),
    ({"vgg.layer": "relu2_1"}, {"loss.sfp_global": 0}),
    ({"vgg.max_pools": 0}, {"vgg.layer": "relu2_1"}),
    ({"generator.attend.skips": False}, {}),
    ({"generator.attend.input": False}, {"generator.attention": "constant"}),
    ({"generator.attend.skips": False}, {"generator.attention": "turned"}),
    ({"generator.attention": "turned"}, {}),
    ({"generator.norm_splits": 2}, {}),
    ({"optimiser.discriminator_learning_rate": 2e-3}, {"local.discriminator": False}),
    ({"optimiser.discriminator_learning_rate": 1e-3}, {"optimiser.learning_rate": 2e-3}),
    ({"optimiser.after": "restart"}, {"optimiser.period_steps": 2}),
    ({"optimiser.period_steps": 8}, {}),
    ({"optimiser.flat": 0.9}, {}),
    ({"stabilise.r1_every": 3}, {"stabilise.r1": 0.1}),
    ({"stabilise.pool": 5}, {"global.discriminator": False}),
    ({"stabilise.clip_gradient": 1.0}, NO_DISCRIMINATORS),
    ({"stabilise.ema": 0.9}, NO_DISCRIMINATORS),
    ({"loss.convention": "paper"}, NO_DISCRIMINATORS),
    ({"loss.convention": "paper"}, NO_FEATURES),
    ({"loss.sfp_target": "input"}, {"augment.darken": 0.1}),
    ({"augment.darken_max": 9.0}, {"augment.darken": 0.1}),
    ({"loss.identity": 0.5}, NO_DISCRIMINATORS),
    ({"compute.channels_last": False}, {}),
    ({"evaluate_every": 1}, {}),
]
PROVED = [0, 1, 4, 9, 11, 12, 13, 15, 16, 18, 19, 23, 25, 28, 29, 30, 32, 33, 34]


@pytest.mark.parametrize(("options", "shared"), INERT, ids=str)
def test_settings_that_change_nothing_make_no_other_trial(tiny, options, shared):
    assert canonical(tiny(shared | options)) == canonical(tiny(shared))


@pytest.mark.parametrize(("options", "shared"), EFFECTIVE, ids=str)
def test_settings_that_change_a_result_make_another_trial(tiny, options, shared):
    assert canonical(tiny(shared | options)) != canonical(tiny(shared))


def trained(config, random):
    low = [random.integers(0, 90, (40, 48, 3)).astype("uint8") for _ in range(3)]
    gan = build(config, Streams(0), CPU)
    batches = Batches(config, low=low, normal=[255 - one for one in low], streams=Streams(0), device=CPU)
    for number in (1, 2):
        for name, optimiser in gan.optimisers.items():
            optimiser.param_groups[0]["lr"] = learning_rate(config, number, name)
        step(gan, batches.at(number))
    return gan.generator.state_dict()


@pytest.mark.parametrize(("options", "shared"), [INERT[number] for number in PROVED], ids=str)
def test_settings_that_are_called_inert_train_to_equal_weights(tiny, options, shared):
    first, second = (trained(tiny(one), np.random.default_rng(0)) for one in (shared, shared | options))
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_canonical_settings_are_plain_values_and_name_every_option_of_the_full_model(tiny):
    settings = canonical(tiny({"optimiser.period_steps": 2, "stabilise.r1": 1.0}))
    assert json.loads(json.dumps(settings)) == settings
    whole = tiny({"optimiser.period_steps": 2, "stabilise.r1": 1.0}).model_dump(mode="json", by_alias=True)
    whole["vgg"]["max_pools"] = 0  # relu1_1 lies before every pool
    assert settings == whole


def with_file(tiny, option, path):
    return canonical(tiny({option: str(path)}))


@pytest.mark.parametrize("option", ["init", "vgg.weights"])
def test_a_file_of_weights_is_known_by_its_content_not_by_its_path(tiny, tmp_path, option):
    first, second = tmp_path / "a.pt", tmp_path / "elsewhere" / "b.pt"
    second.parent.mkdir()
    for path in (first, second):
        path.write_bytes(b"weights of one training")
    known = with_file(tiny, option, first)
    assert known == with_file(tiny, option, second)
    assert str(tmp_path) not in json.dumps(known)
    second.write_bytes(b"weights of two training")  # of the same length
    os.utime(second, ns=(1, 1))
    assert known != with_file(tiny, option, second)
    assert known != canonical(tiny())


def test_a_file_that_changes_in_place_is_another_one(tiny, tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(b"before")
    before = with_file(tiny, "init", path)
    path.write_bytes(b"after")
    assert with_file(tiny, "init", path) != before


def test_the_content_of_weights_that_nothing_looks_at_is_no_difference(tiny, tmp_path):
    (tmp_path / "vgg.pt").write_bytes(b"weights")
    assert with_file(lambda options: tiny(NO_FEATURES | options), "vgg.weights", tmp_path / "vgg.pt") == canonical(
        tiny(NO_FEATURES)
    )


def test_a_generator_that_starts_from_two_copies_of_a_file_trains_equally(tiny, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_generator(tmp_path / name, build(tiny(), Streams(9), CPU))
    first, second = (
        trained(tiny({"init": str(tmp_path / name / "generator.pt")}), np.random.default_rng(0)) for name in "ab"
    )
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_px": 40}, "crop_px must be a multiple of 16, since the generator halves it 4 times, but is 40"),
        ({"generator.depth": 6}, "crop_px must be a multiple of 64, since the generator halves it 6 times, but is 32"),
        ({"local.patch_px": 33}, "local.patch_px must not exceed crop_px, but 33 > 32"),
        ({**NO_DISCRIMINATORS, **NO_FEATURES}, "the generator learns from nothing: every weight in `loss` is 0"),
        ({"loss.global_weight": 0, "loss.local_weight": 0, **NO_FEATURES, "loss.total_variation": 1.0},
         "the generator learns from nothing"),
        ({"crop_px": 16, "local.patch_px": 8, "batch": 1}, "batch 1 with crop_px 16 leaves batch norm one "
         "value at the generator's bottleneck; raise batch or crop_px"),
        ({"crop_px": 16, "local.patch_px": 8, "batch": 3, "generator.norm_splits": 2}, "batch 3 in 2 parts .* one"),
        ({"crop_px": 16, "local.patch_px": 8, "batch": 10, "generator.norm_splits": 4}, "batch 10 in 4 parts .* one"),
        ({"crop_px": 16, "local.patch_px": 8, "generator.norm": "instance"}, "instance norm with crop_px 16 leaves"),
        ({"vgg.layer": "relu5_1", "vgg.max_pools": 4}, "local.patch_px must be 32 or more for the features at "
         "vgg.layer relu5_1 after 4 max-pools, but is 16"),
        ({"vgg.layer": "relu4_1", "local.patch_px": 8}, "local.patch_px must be 16 or more .* after 3 max-pools"),
        ({"augment.darken_min": 5.0}, r"darken_min must not exceed darken_max, but 5\.0 > 4\.0"),
        ({"generator.width": 0}, "greater than or equal to 1"),
        ({"generator.attend": {"output": True}}, "(?s)generator.attend.output.*Extra inputs are not permitted"),
        ({"generator.attention": "None"}, "Input should be 'self_regularised', 'turned', 'constant' or 'none'"),
        ({"generator.upsampling": "bicubic"}, "Input should be 'bilinear_aligned'"),
        ({"generator.input_weight": float("nan")}, "(?s)generator.input_weight.*finite number"),
        ({"loss.identity": -0.1}, "(?s)loss.identity.*greater than or equal to 0"),
        ({"loss.identity": float("inf")}, "(?s)loss.identity.*finite number"),
        ({"optimiser.discriminator_learning_rate": 0}, "(?s)discriminator_learning_rate.*greater than 0"),
        ({"optimiser.period_steps": 0}, "(?s)period_steps.*greater than or equal to 1"),
        ({"stabilise.ema": 1}, "(?s)stabilise.ema.*less than 1"),
        ({"stabilise.clip_gradient": 0}, "(?s)clip_gradient.*greater than 0"),
        ({"stabilise.r1_every": 0}, "(?s)r1_every.*greater than or equal to 1"),
        ({"stabilise.pool": 1.5}, "(?s)stabilise.pool.*valid integer"),
        ({"stabilise.spectral_norm": "yes"}, "(?s)spectral_norm.*valid boolean"),
        ({"watch.window_steps": 19}, "(?s)window_steps.*greater than or equal to 20"),
        ({"watch.collapse.evaluations": 0}, "(?s)evaluations.*greater than or equal to 1"),
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_cannot_be_trained_are_refused_in_a_sentence(tiny, options, message):
    with pytest.raises(ValidationError, match=message):
        tiny(options)


@pytest.mark.parametrize(
    "options",
    [
        {"crop_px": 16, "local.patch_px": 8, "batch": 2},
        {"crop_px": 16, "local.patch_px": 8, "batch": 4, "generator.norm_splits": 3},  # parts of 2 and 2
        {"crop_px": 16, "local.patch_px": 8, "batch": 9, "generator.norm_splits": 4},  # parts of 3, 3 and 3
        {"crop_px": 16, "local.patch_px": 8, "generator.norm": "none", "batch": 1},
        {"vgg.layer": "relu5_1", "local.patch_px": 16},
        {"vgg.layer": "relu5_1", "local.patch_px": 8, "vgg.instance_norm": False},
        {"vgg.layer": "relu5_1", "vgg.max_pools": 4, "local.patch_px": 8, "loss.sfp_local": 0},
        {"local.patch_px": 32, "local.border": "official"},
        {"generator.depth": 1, "crop_px": 18},
        NO_DISCRIMINATORS | NO_FEATURES | {"loss.identity": 1.0},
        {"stabilise.pool": 1, "batch": 2},
        {"generator.norm_splits": 9},
    ],
    ids=str,
)
def test_settings_at_the_edge_of_what_can_be_trained_can(tiny, options):
    state = trained(tiny(options), np.random.default_rng(0))
    assert all(bool(value.isfinite().all()) for value in state.values())


def test_an_option_of_another_type_is_refused_and_a_whole_number_is_a_number():
    assert Config.model_validate({"loss": {"sfp_local": 2}}).loss.sfp_local == 2
    with pytest.raises(ValidationError, match="valid number"):
        Config.model_validate({"loss": {"sfp_local": "2"}})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "folders"}, "source: folders needs `low`, a folder .*, and `normal`, .* and `evaluate`"),
        ({"low": "somewhere"}, "`low` and `normal` belong to source: folders, but source is photos"),
        ({"evaluate": {"a": {"low": "x", "high": "y"}}}, "(?s)evaluate.a.high.*Extra inputs"),
    ],
)  # fmt: skip
def test_data_that_is_not_complete_is_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        Data.model_validate(settings)
