"""Every option changes what it claims to change, and nothing else: else an ablation measures something else."""

import copy
import math

import numpy as np
import pytest
import torch
from pydantic import BaseModel
from torch.nn import functional

from trials.batches import Batches
from trials.checkpoint import save_generator
from trials.config import Config, Vgg
from trials.evaluate import evaluate
from trials.health import Monitor
from trials.losses import right_share
from trials.networks import Discriminator, Generator, attention_map, initialise
from trials.progress import DivergedError
from trials.randomness import Streams
from trials.sets import EvaluationImage
from trials.steps import build, generator_step, make, step
from trials.train import _set_precision, intervals, learning_rate, train
from trials.vgg import Features

CPU = torch.device("cpu")
NETWORKS = ("generator", "global", "local")
STREAMS = Streams(seed=5)


def gan_of(config, streams=STREAMS):
    return build(config, streams, CPU)


def batches_of(config):
    """Batches of five low and four normal images of noise, 40 x 48, the low ones dark at one side."""
    random, light = np.random.default_rng(2), np.linspace(0, 1, 48)[:, None] ** 2
    low = [(random.integers(0, 200, (40, 48, 3)) * light).astype(np.uint8) for _ in range(5)]
    normal = [random.integers(0, 256, (40, 48, 3), dtype=np.uint8) for _ in range(4)]
    return Batches(config, low=low, normal=normal, streams=STREAMS, device=CPU)


def gradients(network):
    return {name: parameter.grad.clone() for name, parameter in network.named_parameters()}


def parameters(network):
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


def louder(gan):
    """Multiply the convolutions: what fresh networks say is all but equal, and hides what tells them apart."""
    for name, network in gan.networks().items():
        factor = 5 if name == "generator" else 12
        for parameter in network.parameters():
            parameter.data.mul_(factor if parameter.ndim == 4 else 1)
    return gan


# --- Nothing else: everything that a training does is written down, and compared item by item ---


def record(config):
    """Return what four steps of a training see and do: item to a value that can be compared."""
    batches, gan, found = batches_of(config), louder(gan_of(config)), {}
    made_of = [batches.at(number) for number in (1, 2, 3, 4)]
    for name in ("low", "darkened", "normal"):
        found[name] = [getattr(batch, name) for batch in made_of]
    found["offsets"] = [list(batch.offsets) for batch in made_of]
    for name, network in gan.networks().items():
        found[f"shape {name}"] = {key: tuple(value.shape) for key, value in network.named_parameters()}
        found[f"rate {name}"] = [learning_rate(config, number, name) for number in (1, 2, 3, 4, 5, 6)]
    found["pieces"] = list(intervals(config, 0))
    found["made"] = make(copy.deepcopy(gan), made_of[0])[1].fake.detach()
    measures = step(gan, made_of[0])
    found |= {name: value for name, value in measures.items() if name.startswith("loss/")}
    for name, network in gan.networks().items():
        found[f"gradient {name}"] = list(gradients(network).values())
        found[f"moved {name}"] = list(parameters(network).values())
    for batch in made_of[1:]:
        step(gan, batch)
    found["judged"] = [list(network.state_dict().values()) for _, network in gan.judges()]
    found["result"] = list(gan.result.state_dict().values())
    found["events"] = watched(config)
    return found


def watched(config):
    """Return what a fixed row of gradient norms and of evaluations leads to."""
    monitor, events = Monitor(config.watch), []
    for number, norm in enumerate([1, 1.1] * 15 + [1.5] + [1, 1.1] * 15 + [9] * 30 + [1.5, 1], 1):
        events += monitor.look(number, [{"health/gradient_norm_generator": norm}])
    for contrast, clipped in ((0.9, 0.5), (2, 0.985)):
        monitor.collapses = 0
        try:
            events += monitor.evaluated(70, {"eval/contrast_levels": contrast, "eval/clipped_share": clipped})
        except DivergedError as error:
            events += [str(error)]
    return events


def same(first, second):
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


LATER = {"judged", "result"}
TERMS = {"loss/generator", "loss/g_global", "loss/g_local", "loss/sfp_global", "loss/sfp_local"}
LEARNT = {"gradient generator", "moved generator"} | LATER
JUDGED = {f"{what} {name}" for what in ("gradient", "moved") for name in ("global", "local")}
OUTPUT = {"made", "loss/d_global", "loss/d_local"} | TERMS | LEARNT | JUDGED
UNET = {"shape generator"} | OUTPUT


def of(view, *more):
    """Return what a discriminator's own options change; the generator sees it."""
    items = {f"{what} {view}" for what in ("shape", "gradient", "moved")} | {f"loss/d_{view}", f"loss/g_{view}"}
    return items | {"loss/generator"} | LEARNT | set(more)


def without(view):
    return of(view, f"rate {view}")


SFP = {"loss/sfp_global", "loss/sfp_local", "loss/generator"} | LEARNT
PATCHES = {
    "offsets", "loss/g_local", "loss/d_local", "loss/sfp_local", "loss/generator", "gradient local", "moved local",
} | LEARNT  # fmt: skip
RATES = {f"rate {name}" for name in NETWORKS}
MOVES = {f"moved {name}" for name in NETWORKS} | LATER
INPUT = {"low", "darkened"} | OUTPUT
IMAGES = {"normal"} | INPUT
UNSEEN = {"loss/sfp_global"}
"""A term that looks at images that an option leaves alone, so it may or may not change."""

# Options (the first is what the case is about), and the items that differ from a training without them.
CASES = [
    ({"steps": 8}, RATES | {"pieces"}),
    ({"batch": 3}, IMAGES),
    ({"crop_px": 24}, IMAGES | {"offsets"}),
    ({"pairing": "fixed"}, IMAGES),
    ({"evaluate_every": 3}, {"pieces"}),
    ({"generator.width": 3}, UNET),
    ({"generator.depth": 3}, UNET),
    ({"generator.attention": "none"}, UNET),
    ({"generator.attention": "turned"}, OUTPUT),
    ({"generator.attention": "constant"}, OUTPUT),
    ({"generator.attend.input": False}, UNET),
    ({"generator.attend.skips": False}, OUTPUT),
    ({"generator.attend.bottleneck": False}, OUTPUT),
    ({"generator.attend.residual": False}, OUTPUT),
    ({"generator.skips": False}, UNET),
    ({"generator.norm": "instance"}, OUTPUT),
    ({"generator.norm": "none"}, UNET),
    ({"generator.norm_splits": 2}, OUTPUT),
    ({"generator.pool": "average"}, OUTPUT),
    ({"generator.upsampling": "bilinear"}, OUTPUT),
    ({"generator.upsampling": "nearest"}, OUTPUT),
    ({"generator.upsampling": "transposed"}, UNET),
    ({"generator.input_weight": 0.5}, OUTPUT),
    ({"generator.input_weight": 0.0}, OUTPUT),
    ({"generator.output": "tanh"}, OUTPUT),
    ({"global.discriminator": False}, without("global")),
    ({"global.layers": 3}, of("global")),
    ({"global.width": 5}, of("global")),
    ({"local.discriminator": False}, without("local")),
    ({"local.layers": 3}, of("local")),
    ({"local.width": 5}, of("local")),
    ({"local.patches": 3}, PATCHES),
    ({"local.patch_px": 12}, PATCHES),
    ({"local.offsets": "apart"}, PATCHES),
    ({"local.border": "official"}, PATCHES),
    ({"loss.convention": "paper"}, OUTPUT - {"made", "loss/g_local"}),
    *[
        ({f"loss.{view}_adversarial": kind}, of(view) - {f"shape {view}"})
        for view, kinds in (
            ("global", ("least_squares", "hinge", "logistic")),
            ("local", ("relativistic_least_squares", "hinge", "logistic")),
        )
        for kind in kinds
    ],
    *[({f"loss.{view}_weight": 2.0}, {"loss/generator"} | LEARNT) for view in ("global", "local")],
    *[({f"loss.{view}_weight": 0.0}, without(view)) for view in ("global", "local")],
    *[({f"loss.sfp_{view}": 2.0}, {"loss/generator"} | LEARNT) for view in ("global", "local")],
    *[({f"loss.sfp_{view}": 0.0}, {"loss/generator", f"loss/sfp_{view}"} | LEARNT) for view in ("global", "local")],
    ({"loss.sfp_target": "input"}, SFP),
    *[
        ({f"loss.{name}": 1.0}, {"loss/generator", f"loss/{name}"} | LEARNT)
        for name in ("colour_constancy", "identity", "gradient", "total_variation")
    ],
    ({"vgg.weights": "file"}, SFP),
    ({"vgg.layer": "relu2_1"}, SFP),
    ({"vgg.max_pools": 0, "vgg.layer": "relu2_1"}, SFP),
    ({"vgg.instance_norm": False}, SFP),
    ({"vgg.input": "centred"}, SFP),
    ({"vgg.input": "torchvision"}, SFP),
    ({"optimiser.learning_rate": 2e-3}, RATES | MOVES),
    ({"optimiser.discriminator_learning_rate": 2e-3}, (RATES | MOVES) - {"rate generator", "moved generator"}),
    ({"optimiser.beta1": 0.9}, MOVES),
    ({"optimiser.beta2": 0.9}, MOVES),
    ({"optimiser.schedule": "halving"}, RATES),
    ({"optimiser.schedule": "constant"}, RATES),
    ({"optimiser.flat": 0.0}, RATES),
    ({"optimiser.epoch_steps": 2}, RATES),
    ({"optimiser.period_steps": 3}, RATES),
    ({"optimiser.after": "restart", "optimiser.period_steps": 3}, RATES),
    ({"stabilise.r1": 1.0}, JUDGED | LATER | {"loss/r1_global", "loss/r1_local"}),
    ({"stabilise.r1_every": 2, "stabilise.r1": 1.0}, JUDGED | LATER | {"loss/r1_global", "loss/r1_local"}),
    (
        {"stabilise.spectral_norm": True},
        JUDGED | LEARNT | {f"loss/{side}_{view}" for side in "gd" for view in ("global", "local")} | {"loss/generator"},
    ),
    ({"stabilise.clip_gradient": 1e-3}, {f"gradient {name}" for name in NETWORKS} | MOVES),
    ({"stabilise.ema": 0.9}, {"result"}),
    ({"stabilise.pool": 2}, LATER),
    ({"augment.flip": False}, IMAGES),
    ({"augment.darken": 0.0}, {"darkened"} | OUTPUT),
    ({"augment.darken_min": 1.4}, {"darkened"} | OUTPUT),
    ({"augment.darken_max": 9.0}, {"darkened"} | OUTPUT),
    ({"compute.precision": "bfloat16"}, OUTPUT),
    ({"compute.channels_last": False}, set()),
    ({"watch.spike_score": 50.0}, {"events"}),
    ({"watch.window_steps": 20}, {"events"}),
    ({"watch.collapse.contrast_levels": 0.5}, {"events"}),
    ({"watch.collapse.clipped_share": 0.98}, {"events"}),
    ({"watch.collapse.evaluations": 1}, {"events"}),
    ({"watch.duality_gap_steps": 3}, set()),
]  # fmt: skip
RELATIVE_TO = {"vgg.max_pools": {"vgg.layer": "relu2_1"}, "optimiser.after": {"optimiser.period_steps": 3},
               "stabilise.r1_every": {"stabilise.r1": 1.0}}  # fmt: skip


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
    path, random = tmp_path_factory.mktemp("vgg") / "vgg.pt", torch.Generator().manual_seed(0)
    shapes = {"conv1_1": (64, 3), "conv1_2": (64, 64), "conv2_1": (128, 64)}
    state = {f"{name}.weight": torch.randn(*shape, 3, 3, generator=random) / 20 for name, shape in shapes.items()}
    torch.save(state | {f"{name}.bias": torch.zeros(shape[0]) for name, shape in shapes.items()}, path)
    return path


@pytest.fixture(scope="module")
def full(tiny):
    """Return a maker of configurations that are smaller yet, and of which every batch is darkened."""
    shared = {"augment.darken": 1.0, "augment.darken_min": 1.0, "augment.darken_max": 1.5, "evaluate_every": 4,
              "generator.depth": 2, "crop_px": 16, "local.patch_px": 8}  # fmt: skip
    return lambda overrides=None: tiny(shared | (overrides or {}))


@pytest.fixture(scope="module")
def plain(full):
    made = {}

    def recorded(overrides):
        key = repr(overrides)
        if key not in made:
            made[key] = record(full(overrides))
        return made[key]

    return recorded


@pytest.mark.parametrize(("options", "changed"), CASES, ids=lambda value: str(value) if isinstance(value, dict) else "")
def test_an_option_changes_what_it_claims_to_and_nothing_else(full, plain, vgg_file, options, changed):
    options = {name: str(vgg_file) if value == "file" else value for name, value in options.items()}
    about = next(iter(options))
    before, after = plain(RELATIVE_TO.get(about, {})), record(full(options))
    found = {key for key in before.keys() | after.keys() if not same(before.get(key), after.get(key))}
    if about == "compute.channels_last":  # another order of summation: equal but for rounding, which Adam magnifies
        found -= MOVES
        for key in found:
            torch.testing.assert_close(after[key], before[key], rtol=1e-3, atol=1e-5)
        found = set()
    assert found - changed == set()
    assert changed - found == set()


@pytest.mark.parametrize("options", [case for case, _ in CASES], ids=str)
def test_parameters_of_unchanged_shape_begin_with_equal_values(full, options):
    first, second = gan_of(full()).networks(), gan_of(full(options | {"vgg.weights": "random"})).networks()
    for name in first.keys() & second.keys():
        ours, theirs = parameters(first[name]), parameters(second[name])
        for key in ours.keys() & theirs.keys():
            weight = key.replace(".bias", ".weight")  # a bias is spread as the fan-in of its weight says
            if ours[key].shape == theirs[key].shape and ours[weight].shape == theirs[weight].shape:
                assert torch.equal(ours[key], theirs[key]), (name, key)


def leaves(model, prefix=""):
    for name, field in model.model_fields.items():
        path, inner = f"{prefix}{field.alias or name}", field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from leaves(inner, f"{path}.")
        else:
            yield path


def test_every_option_has_a_case():
    named = {next(iter(options)) for options, _ in CASES} | ELSEWHERE.keys()
    assert named == set(leaves(Config))


# --- The generator: against another way to write it down ---


def unet(network, settings, image):
    """Return the output by recursion: what a level makes of its input, and of what the level below makes of that."""

    def block(stage, x):
        for name in (f"{stage}_1", f"{stage}_2"):
            x = functional.leaky_relu(network[f"conv{name}"](x), 0.2)
            if settings.norm != "none" and name != f"{2 * settings.depth + 1}_2":
                norm = network[f"bn{name}"]
                mean, variance = norm_statistics(norm, x)
                x = (x - mean) / (variance + 1e-5).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
            if name == f"{settings.depth + 1}_1" and uses["bottleneck"]:
                x = x * shrunk[settings.depth]
        return x

    def norm_statistics(norm, x):
        over = (0, 2, 3) if settings.norm == "batch" else (2, 3)
        return x.mean(over, keepdim=True), x.var(over, keepdim=True, correction=0)

    def grown(stage, x):
        layer, side = network[f"deconv{stage - 1}"], 2 * x.shape[-1]
        if settings.upsampling == "transposed":
            return layer(x)
        if settings.upsampling == "nearest":
            return layer(x.repeat_interleave(2, 2).repeat_interleave(2, 3))
        if settings.upsampling == "bilinear_aligned":
            places = torch.linspace(0, side / 2 - 1, side)
        else:
            places = ((torch.arange(side) + 0.5) / 2 - 0.5).clamp(0)
        lower = places.floor().long()
        upper, share = (lower + 1).clamp(max=side // 2 - 1), places - lower
        rows = x[:, :, lower] * (1 - share)[:, None] + x[:, :, upper] * share[:, None]
        return layer(rows[..., lower] * (1 - share) + rows[..., upper] * share)

    def level(number, x):
        if number == settings.depth:
            return block(number + 1, x)
        carried = block(number + 1, x)
        cells = carried.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
        below = level(number + 1, cells.amax(-1) if settings.pool == "max" else cells.mean(-1))
        stage = 2 * settings.depth + 1 - number
        x = grown(stage, below)
        if settings.skips:
            x = torch.cat([x, carried * shrunk[number] if uses["skips"] else carried], 1)
        return block(stage, x)

    red, green, blue = ((image[:, c] + 1) / 2 for c in range(3))
    attention = (1 - (0.299 * red + 0.587 * green + 0.114 * blue)).unsqueeze(1)
    if settings.attention == "turned":
        attention = torch.rot90(attention, 2, (2, 3))
    if settings.attention == "constant":
        attention = attention * 0 + 1
    uses = {name: used and settings.attention != "none" for name, used in settings.attend}
    shrunk = [functional.adaptive_max_pool2d(attention, image.shape[-1] >> n) for n in range(settings.depth + 1)]
    latent = network[f"conv{2 * settings.depth + 2}"](
        level(0, torch.cat([image, attention], 1) if uses["input"] else image)
    )
    latent = torch.tanh(latent) if settings.output == "tanh" else latent
    return (latent * attention if uses["residual"] else latent) + settings.input_weight * image


@pytest.mark.parametrize(
    "options", [case for case, _ in CASES if next(iter(case)).startswith("generator.")] + [{}], ids=str
)
def test_the_generator_computes_what_its_settings_say(full, options):
    config = full(options | {"generator.norm_splits": 1})
    generator = Generator(config.generator)
    initialise(generator, STREAMS, "generator")
    for parameter in generator.parameters():
        parameter.data.mul_(4)  # so that the network adds about as much as its input has
    image = batches_of(config).at(1).darkened
    expected = unet(generator, config.generator, image)
    assert float((expected - config.generator.input_weight * image).detach().std()) > 0.01
    torch.testing.assert_close(generator(image), expected, rtol=1e-3, atol=1e-4)


def test_a_constant_map_is_no_attention_in_every_use_but_the_inputs_channel(full):
    image = batches_of(full()).at(1).darkened
    constant, bare = (
        gan_of(full({"generator.attention": kind, "generator.attend.input": False})).generator
        for kind in ("constant", "none")
    )
    assert torch.equal(constant(image), bare(image))
    with_input, alone = (
        gan_of(full({"generator.attention": "constant", **options})).generator
        for options in ({}, {"generator.attend": {"skips": False, "bottleneck": False, "residual": False}})
    )
    assert torch.equal(with_input(image), alone(image))
    assert with_input["conv1_1"].in_channels == 4


def test_the_turned_map_has_the_same_values_in_wrong_places(full):
    image = batches_of(full()).at(1).darkened
    plain, turned = gan_of(full()).generator, gan_of(full({"generator.attention": "turned"})).generator
    mine, theirs = plain._maps(image), turned._maps(image)
    assert [tuple(one.shape) for one in mine] == [tuple(one.shape) for one in theirs]
    assert all(torch.equal(one.rot90(2, (2, 3)), other) for one, other in zip(mine, theirs, strict=True))
    symmetric = (image + image.rot90(2, (2, 3))) / 2
    assert torch.equal(attention_map(symmetric).rot90(2, (2, 3)), attention_map(symmetric))
    assert torch.equal(plain(symmetric), turned(symmetric))


@pytest.mark.parametrize(("batch", "splits", "sizes"), [(6, 3, [2, 2, 2]), (5, 2, [3, 2]), (2, 5, [1, 1])])
def test_parts_of_a_batch_are_normalised_apart_and_the_first_ones_statistics_are_kept(full, batch, splits, sizes):
    config = full({"batch": batch, "generator.norm_splits": splits})
    image = batches_of(config).at(1).darkened
    generator = gan_of(config).generator
    copies = [copy.deepcopy(generator) for _ in sizes]
    expected = torch.cat([one(part) for one, part in zip(copies, image.split(sizes), strict=True)])
    torch.testing.assert_close(generator.train_forward(image), expected, rtol=1e-4, atol=1e-6)
    for name, value in copies[0].state_dict().items():
        torch.testing.assert_close(generator.state_dict()[name], value, msg=name)


# --- The discriminators ---


@pytest.mark.parametrize("view", ["global", "local"])
@pytest.mark.parametrize(("layers", "width"), [(1, 3), (2, 4), (5, 2)])
def test_a_discriminator_has_so_many_layers_of_so_many_channels(full, view, layers, width):
    network = gan_of(full({f"{view}.layers": layers, f"{view}.width": width})).networks()[view]
    weights = [value for name, value in network.named_parameters() if name.endswith("weight")]
    outputs = [min(width * 2**n, 8 * width) for n in range(layers + 1)] + [1]
    assert [tuple(weight.shape) for weight in weights] == [
        (after, before, 4, 4) for before, after in zip([3, *outputs[:-1]], outputs, strict=True)
    ]
    side = 40
    for _ in range(layers):
        side = side // 2 + 1
    assert network(torch.zeros(1, 3, 40, 40)).shape[2:] == (side + 2, side + 2)


@pytest.mark.parametrize(("options", "same_place"), [({}, True), ({"local.offsets": "apart"}, False)])
@pytest.mark.parametrize(("border", "furthest"), [("whole", 8), ("official", 7)])
def test_patches_lie_where_the_options_say(full, options, same_place, border, furthest):
    config = full(options | {"local.border": border, "local.patches": 3})
    view, batches, seen = gan_of(config).views[-1], batches_of(config), set()
    for number in range(1, 200):
        batch = batches.at(number)
        places = [[one] * 2 if same_place else one for one in batch.offsets]
        assert len(places) == 3
        for group, patches in zip(places, view.look(batch.low, batch.offsets).split(2), strict=True):
            for (top, left), image, patch in zip(group, batch.low, patches, strict=True):
                assert torch.equal(patch, image[:, top : top + 8, left : left + 8])
                seen |= {top, left}
    assert seen == set(range(furthest + 1))


# --- The losses ---


def binary(scores, real):
    return functional.binary_cross_entropy_with_logits(scores, torch.full_like(scores, float(real)))


def squared(scores, target):
    return functional.mse_loss(scores, torch.full_like(scores, float(target)))


def hinged(scores):
    return functional.hinge_embedding_loss(scores, -torch.ones_like(scores), margin=1)


def relative(real, fake):
    """Return the two halves of the relativistic loss, of one group after the other."""
    pairs = list(zip(real, fake, strict=True))
    return [
        sum(squared(one - other.mean(), target) for one, other in ordered) / len(pairs)
        for ordered, target in ((pairs, 1), ([(f, r) for r, f in pairs], 0))
    ]


HALVES = {
    "least_squares": lambda r, f: [squared(r, 1), squared(f, 0)],
    "hinge": lambda r, f: [hinged(r), hinged(-f)],
    "logistic": lambda r, f: [binary(r, 1), binary(f, 0)],
    "relativistic_least_squares": relative,
}
GENERATORS = {
    "least_squares": lambda r, f: [squared(f, 1)],
    "hinge": lambda r, f: [-f.mean()],
    "logistic": lambda r, f: [binary(f, 1)],
    "relativistic_least_squares": lambda r, f: relative(f, r),
}


@pytest.mark.parametrize("convention", ["code", "paper"])
@pytest.mark.parametrize("kind", HALVES)
@pytest.mark.parametrize("view", ["global", "local"])
def test_each_adversarial_loss_is_the_one_that_it_is_called(full, view, kind, convention):
    config = full({f"loss.{view}_adversarial": kind, "loss.convention": convention})
    gan, batch = louder(gan_of(config)), batches_of(config).at(1)
    made = make(copy.deepcopy(gan), batch)[1]
    real, fake = made.scores[view].real.detach(), made.scores[view].fake.detach()
    measures = step(gan, batch)
    halves, whole = HALVES[kind](real, fake), GENERATORS[kind](real, fake)
    divisor = 2 if convention == "code" else 1
    assert float(measures[f"loss/d_{view}"]) == pytest.approx(float(sum(halves)) / divisor, rel=1e-5)
    expected = float(sum(whole)) / (divisor if len(whole) == 2 else 1)
    assert float(measures[f"loss/g_{view}"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        ("least_squares", (1 / 3 + 1) / 2),  # real above 0.5, fake below
        ("hinge", (2 / 3 + 1 / 3) / 2),  # real above 0, fake below
        ("logistic", (2 / 3 + 1 / 3) / 2),
        ("relativistic_least_squares", (2 / 3 + 1 / 3) / 2),  # real above the fake ones' mean 0.1, fake below 0.2
    ],
)
def test_a_discriminators_accuracy_is_counted_from_its_losss_own_boundary(kind, share):
    real, fake = torch.tensor([[0.2, -0.3, 0.7]]), torch.tensor([[-0.1, 0.35, 0.05]])
    if kind == "relativistic_least_squares":
        fake = torch.tensor([[-0.3, 0.35, 0.25]])
    assert float(right_share(kind, real, fake)) == pytest.approx(share)


def features_of(gan, image):
    """Return VGG's features of RGB in [-1, 1], layer after layer."""
    x = image[:, [2, 1, 0]] * 127.5 + 127.5
    for layer in gan.features.layers:
        x = (
            functional.relu(functional.conv2d(x, layer.weight, layer.bias, padding=1))
            if hasattr(layer, "weight")
            else x
        )
    return x


def compared(gan, config, image, low):
    ours, theirs = features_of(gan, image), features_of(gan, low).detach()
    if config.vgg.instance_norm:
        ours, theirs = functional.instance_norm(ours), functional.instance_norm(theirs)
    squares = (ours - theirs).square()
    return squares.mean() if config.loss.convention == "code" else squares.sum(1).mean()


def patches(images, batch, side=8):
    return torch.cat([images[..., top : top + side, left : left + side] for top, left in batch.offsets])


def total_loss(gan, config, batch):
    """The whole loss of the generator, written out; its graph runs through every network."""
    made, normal, loss = gan.generator(batch.darkened), batch.normal, config.loss
    networks, target = gan.networks(), batch.low if loss.sfp_target == "undarkened" else batch.darkened
    scores = {
        "global": [networks["global"](x).unsqueeze(0) for x in (normal, made)],
        "local": [networks["local"](patches(x, batch)).unflatten(0, (2, -1)) for x in (normal, made)],
    }
    total = 0
    for view, kind, weight in (
        ("global", loss.global_adversarial, loss.global_weight),
        ("local", loss.local_adversarial, loss.local_weight),
    ):
        parts = GENERATORS[kind](*scores[view])
        total += weight * sum(parts) / (2 if len(parts) == 2 and loss.convention == "code" else 1)
    total += loss.sfp_global * compared(gan, config, made, target)
    total += loss.sfp_local * compared(gan, config, patches(made, batch), patches(target, batch))
    means = (made.flatten(2).mean(2) + 1) / 2
    total += loss.colour_constancy * (means - means.roll(1, 1)).square().sum(1).mean()
    total += loss.identity * functional.l1_loss(gan.generator(normal), normal)
    total += loss.total_variation * sum(made.diff(dim=axis).abs().mean() for axis in (2, 3))
    grey = torch.tensor([0.299, 0.587, 0.114])
    ours, theirs = (torch.einsum("nchw,c->nhw", x, grey) for x in (made, batch.low))
    ours, theirs = (x / (x.std((1, 2), correction=0, keepdim=True) ** 2 + 1e-5).sqrt() for x in (ours, theirs))
    total += loss.gradient * sum((ours.diff(dim=axis) - theirs.diff(dim=axis)).abs().mean() for axis in (1, 2))
    return total


WEIGHTS = ("global_weight", "local_weight", "sfp_global", "sfp_local", "colour_constancy", "identity", "gradient",
           "total_variation")  # fmt: skip
MIXTURE = {f"loss.{name}": 0.3 + 0.4 * n for n, name in enumerate(WEIGHTS)}


@pytest.mark.parametrize(
    "options",
    [
        {},
        MIXTURE,
        MIXTURE | {"loss.convention": "paper", "loss.sfp_target": "input", "vgg.instance_norm": False},
        *[{f"loss.{name}": 3.0} for name in WEIGHTS],
        MIXTURE | {"loss.global_adversarial": "hinge", "loss.local_adversarial": "logistic"},
        MIXTURE | {"loss.local_adversarial": "relativistic_least_squares"},
    ],
    ids=str,
)
def test_the_generators_gradient_is_that_of_the_weighted_sum_of_its_terms(full, options):
    config = full(options)
    gan, batch = louder(gan_of(config)), batches_of(config).at(1)
    expected = copy.deepcopy(gan)
    loss = total_loss(expected, config, batch)
    loss.backward()
    measures, _ = generator_step(gan, batch)
    assert float(measures["loss/generator"]) == pytest.approx(float(loss.detach()), rel=1e-4)
    wanted, found = gradients(expected.generator), gradients(gan.generator)
    largest = max(float(one.abs().max()) for one in wanted.values())
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5 * largest, msg=name)


def test_identity_leaves_the_running_statistics_alone(full):
    first, second = gan_of(full()), gan_of(full({"loss.identity": 1.0}))
    for gan in (first, second):
        generator_step(gan, batches_of(full()).at(1))
    ours, theirs = (dict(gan.generator.named_buffers()) for gan in (first, second))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert not torch.equal(first.generator["conv1_1"].weight, second.generator["conv1_1"].weight)


@pytest.mark.parametrize(("layer", "pools", "side"), [("relu1_2", 3, 16), ("relu2_1", 0, 16), ("relu2_1", 1, 8),
                                                     ("relu3_1", 1, 8), ("relu3_1", 2, 4)])  # fmt: skip
@pytest.mark.parametrize("seen", ["raw", "centred", "torchvision"])
def test_vgg_sees_the_range_up_to_the_layer_after_so_many_pools(layer, pools, side, seen):
    features = Features(Vgg(weights="random", layer=layer, max_pools=pools, input=seen))
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rgb = (image + 1) / 2
    if seen == "torchvision":
        x = (rgb - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
            :, None, None
        ]
    else:
        x = rgb * 255 - torch.tensor([123.68, 116.779, 103.939])[:, None, None] * (seen == "centred")
    x, convolutions = x.flip(1), [one for one in features.layers if hasattr(one, "weight")]
    order = [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1)]
    for (block, number), one in zip(order, convolutions, strict=False):
        if number == 1 and 2 <= block <= pools + 1:
            x = functional.max_pool2d(x, 2)
        x = functional.relu(functional.conv2d(x, one.weight, one.bias, padding=1))
    assert len(convolutions) == order.index((int(layer[4]), int(layer[6]))) + 1
    assert x.shape[-1] == side
    torch.testing.assert_close(features(image), x, rtol=1e-3, atol=1e-3 * float(x.abs().max()))


# --- The optimisers ---


def test_adam_moves_each_network_by_its_own_rate_and_betas(full):
    config = full({"optimiser.discriminator_learning_rate": 4e-3, "optimiser.beta1": 0.3, "optimiser.beta2": 0.8})
    gan, batches = gan_of(config), batches_of(config)
    rates = {"generator": 1e-3, "global": 4e-3, "local": 4e-3}
    means, squares = (dict.fromkeys(rates, 0) for _ in range(2))
    for number in (1, 2, 3):
        before = {
            name: torch.cat([p.flatten() for p in parameters(net).values()]) for name, net in gan.networks().items()
        }
        step(gan, batches.at(number))
        for name, network in gan.networks().items():
            gradient = torch.cat([one.flatten() for one in gradients(network).values()])
            means[name] = 0.3 * means[name] + 0.7 * gradient
            squares[name] = 0.8 * squares[name] + 0.2 * gradient**2
            corrected = means[name] / (1 - 0.3**number), squares[name] / (1 - 0.8**number)
            after = torch.cat([p.flatten() for p in parameters(network).values()])
            expected = before[name] - rates[name] * corrected[0] / (corrected[1].sqrt() + 1e-8)
            torch.testing.assert_close(after, expected, rtol=0, atol=0.01 * rates[name])


def shares(config, steps):
    return [learning_rate(config, number) / config.optimiser.learning_rate for number in steps]


@pytest.mark.parametrize(
    ("epoch", "halvings"),
    [(1, 0), (100, 0), (101, 1), (120, 1), (121, 2), (170, 2), (171, 3), (190, 3), (191, 7), (200, 7)],
)
def test_halving_is_the_official_schedule(epoch, halvings):
    config = Config(optimiser={"schedule": "halving"})  # 100 + 100 epochs of 32 steps
    assert shares(config, (32 * epoch - 31, 32 * epoch)) == [0.5**halvings] * 2


@pytest.mark.parametrize("flat", [0.07, 0.14, 0.28, 0.29, 0.55, 0.57, 0.58])
def test_halving_begins_with_the_epoch_after_the_flat_ones(full, flat):
    config = full({"steps": 100, "optimiser.schedule": "halving", "optimiser.flat": flat})
    last = round(100 * flat)
    assert shares(config, (last, last + 1)) == [1, 0.5]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"schedule": "linear"}, [1, 1, 1, 1, 1, 0.75, 0.5, 0.25]),
        ({"schedule": "constant"}, [1] * 8),
        ({"schedule": "linear", "epoch_steps": 2}, [1, 1, 1, 1, 1, 1, 0.5, 0.5]),
        ({"schedule": "linear", "period_steps": 4}, [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5]),
        ({"schedule": "linear", "period_steps": 4, "after": "restart"}, [1, 1, 1, 0.5, 1, 1, 1, 0.5]),
        (
            {"schedule": "linear", "period_steps": 3, "after": "restart", "flat": 0.0},
            [1, 2 / 3, 1 / 3] * 2 + [1, 2 / 3],
        ),
        ({"schedule": "linear", "period_steps": 16}, [1] * 8),
        ({"schedule": "linear", "flat": 0.0}, [1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),
        ({"schedule": "halving", "flat": 0.5}, [1, 1, 1, 1, 0.5, 0.25, 0.25, 0.125]),
        ({"schedule": "halving", "period_steps": 4, "after": "restart"}, [1, 1, 0.5, 0.25] * 2),
        ({"schedule": "halving", "period_steps": 4}, [1, 1, 0.5] + [0.25] * 5),
    ],
    ids=str,
)
def test_a_schedule_gives_the_rates_of_a_table_written_by_hand(full, options, expected):
    config = full({"steps": 8} | {f"optimiser.{name}": value for name, value in options.items()})
    assert shares(config, range(1, 9)) == pytest.approx(expected)


def test_a_training_gives_each_network_its_own_rate_of_the_schedule(full, folders, tmp_path, monkeypatch):
    seen = []

    def remembering(gan, batch):
        seen.append({name: one.param_groups[0]["lr"] for name, one in gan.optimisers.items()})
        return step(gan, batch)

    monkeypatch.setattr("trials.train.step", remembering)
    list(train(full({"optimiser.discriminator_learning_rate": 4e-3}), folders, seed=0, folder=tmp_path))
    rates = {"generator": 1e-3, "global": 4e-3, "local": 4e-3}
    expected = [{name: rate * share for name, rate in rates.items()} for share in (1, 1, 1, 0.5)]
    assert [pytest.approx(one) for one in expected] == seen


# --- The remedies ---


@pytest.mark.parametrize(("every", "factors"), [(1, [1, 1, 1]), (2, [0, 2, 0]), (3, [0, 0, 3])])
def test_r1_adds_the_gradient_of_half_the_squared_gradient_norm(full, every, factors):
    config = full({"stabilise.r1": 7.0, "stabilise.r1_every": every})
    for number, factor in enumerate(factors, 1):
        plain, gan, batch = louder(gan_of(full())), louder(gan_of(config)), batches_of(config).at(number)
        fresh = copy.deepcopy(gan.networks())
        step(plain, batch)
        measures = step(gan, batch)
        for view, real in (("global", batch.normal), ("local", patches(batch.normal, batch))):
            network = fresh[view]

            def penalty(weights, network=network, real=real):
                def score(image):
                    return torch.func.functional_call(network, weights, image.unsqueeze(0)).mean()

                return torch.func.vmap(torch.func.grad(score))(real).square().sum() / len(real)

            weights = parameters(network)
            expected = torch.func.grad(penalty)(weights)
            with_it, without_it = gradients(gan.networks()[view]), gradients(plain.networks()[view])
            for name, gradient in expected.items():
                added = with_it[name] - without_it[name]
                torch.testing.assert_close(added, 7 / 2 * factor * gradient, rtol=2e-3, atol=1e-6, msg=name)
            assert (f"loss/r1_{view}" in measures) == (factor > 0)
            if factor:
                assert float(measures[f"loss/r1_{view}"]) == pytest.approx(float(penalty(weights)), rel=1e-4)


def test_spectral_norm_divides_each_convolution_by_its_largest_singular_value():
    network = Discriminator(2, 4, spectral_norm=True)
    initialise(network, STREAMS, "global")
    image = batches_of(Config(crop_px=32, batch=2, local={"patch_px": 16})).at(1).normal
    for _ in range(300):
        network(image)
    x = image
    for layer in network.model:
        if hasattr(layer, "weight"):
            largest = torch.linalg.svdvals(layer.weight.detach().flatten(1).double())[0]
            weight = (layer.weight.double() / largest).float()
            x = functional.conv2d(x, weight, layer.bias, layer.stride, layer.padding)
        else:
            x = functional.leaky_relu(x, 0.2)
    torch.testing.assert_close(network(image), x, rtol=1e-3, atol=1e-4)


def test_spectral_norm_takes_one_step_of_the_power_iteration_at_each_pass_in_train_mode(tiny):
    network = Discriminator(1, 3, spectral_norm=True)
    initialise(network, STREAMS, "global")
    layer, image = network.model[0], torch.zeros(1, 3, 8, 8)
    matrix, u = layer.weight.detach().flatten(1), layer.u.clone()
    assert float(u.norm()) == pytest.approx(1)
    for _ in range(3):
        network(image)
        v = matrix.T @ u
        u = matrix @ (v / v.norm())
        u = u / u.norm()
        torch.testing.assert_close(layer.u, u)
    network.eval()(image)
    torch.testing.assert_close(layer.u, u)


def test_the_gradient_runs_through_spectral_norm_as_through_torchs_own():
    ours = Discriminator(1, 3, spectral_norm=True)
    initialise(ours, STREAMS, "global")
    image = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    for _ in range(300):
        ours(image)
    theirs = Discriminator(1, 3)
    theirs.load_state_dict({name: value for name, value in ours.state_dict().items() if not name.endswith(".u")})
    for layer in theirs.model:
        if hasattr(layer, "weight"):
            torch.nn.utils.parametrizations.spectral_norm(layer, n_power_iterations=300)
    for network in (ours, theirs):
        network(image).square().mean().backward()
    assert ours.model[0].weight.grad.abs().max() > 0
    for first, second in zip(ours.model, theirs.model, strict=True):
        if hasattr(first, "weight"):
            torch.testing.assert_close(
                first.weight.grad, second.parametrizations.weight.original.grad, rtol=1e-3, atol=1e-5
            )


@pytest.mark.parametrize("bound", [1e-3, 1e6])
def test_a_gradient_longer_than_the_bound_is_shortened_to_it(full, bound):
    plain, clipped, batch = gan_of(full()), gan_of(full({"stabilise.clip_gradient": bound})), batches_of(full()).at(1)
    norms, measured = step(plain, batch), step(clipped, batch)
    for name in NETWORKS:
        length = math.sqrt(
            sum(float(one.double().square().sum()) for one in gradients(plain.networks()[name]).values())
        )
        ours = gradients(clipped.networks()[name])
        found = math.sqrt(sum(float(one.double().square().sum()) for one in ours.values()))
        assert found == pytest.approx(min(length, bound), rel=1e-2)
        key = f"health/gradient_norm_{name}"  # as it was before it was clipped
        assert float(measured[key]) == float(norms[key]) == pytest.approx(length, rel=1e-4)
        for key, gradient in gradients(plain.networks()[name]).items():
            torch.testing.assert_close(ours[key], gradient * found / length, rtol=1e-3, atol=1e-9)


def test_the_average_follows_the_generator_and_is_what_is_evaluated_and_saved(full, tmp_path):
    config = full({"stabilise.ema": 0.75})
    gan, batches = gan_of(config), batches_of(config)
    expected = parameters(gan.generator)
    for number in (1, 2, 3):
        step(gan, batches.at(number))
        expected = {name: 0.75 * expected[name] + 0.25 * value for name, value in parameters(gan.generator).items()}
    assert gan.result is gan.average
    for name, value in expected.items():
        torch.testing.assert_close(dict(gan.average.named_parameters())[name], value, rtol=1e-5, atol=1e-7)
    for ours, theirs in zip(gan.average.buffers(), gan.generator.buffers(), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.data_ptr() != theirs.data_ptr()
    save_generator(tmp_path, gan)
    saved = torch.load(tmp_path / "generator.pt", weights_only=True)
    assert all(torch.equal(value, saved[name]) for name, value in gan.average.state_dict().items())


# --- What batches are made of ---


def test_flips_only_mirror_the_same_crops(full):
    turned, straight = batches_of(full()), batches_of(full({"augment.flip": False}))
    seen = {"low": set(), "normal": set()}
    for number in range(1, 21):
        first, second = turned.at(number), straight.at(number)
        for kind in seen:
            for one, other in zip(getattr(first, kind), getattr(second, kind), strict=True):
                ways = [way for way in ((), (1,), (2,), (1, 2)) if torch.equal(other.flip(way), one)]
                assert len(ways) == 1
                seen[kind] |= set(ways)
    assert seen["low"] == seen["normal"] == {(), (1,), (2,), (1, 2)}


@pytest.mark.parametrize(
    ("options", "share", "divisors"),
    [
        ({"darken": 0.0}, 0, (1, 1)),
        ({"darken": 1.0}, 1, (2, 4)),
        ({"darken": 0.5}, 0.5, (2, 4)),
        ({"darken": 1.0, "darken_min": 3.0, "darken_max": 3.0}, 1, (3, 3)),
        ({"darken": 1.0, "darken_min": 1.5, "darken_max": 9.0}, 1, (1.5, 9)),
    ],
    ids=str,
)
def test_so_many_inputs_are_darkened_by_a_number_between_the_two(full, options, share, divisors):
    options = {"darken_min": 2.0, "darken_max": 4.0} | options
    batches, found = batches_of(full({f"augment.{name}": value for name, value in options.items()})), []
    for number in range(1, 101):
        batch = batches.at(number)
        found += ((batch.low + 1).sum((1, 2, 3)) / (batch.darkened + 1).sum((1, 2, 3))).tolist()
    darkened = [one for one in found if one > 1.001]
    assert len(darkened) / len(found) == pytest.approx(share, abs=0.12)
    assert all(divisors[0] - 1e-3 <= one <= divisors[1] + 1e-3 for one in darkened)
    if share and divisors[0] < divisors[1]:
        spread = divisors[1] - divisors[0]
        assert np.quantile(darkened, [0.05, 0.95]) == pytest.approx(divisors, abs=0.12 * spread)


# --- How it is computed ---


def test_bfloat16_is_for_products_alone(full):
    config = full({"compute.precision": "bfloat16"})
    gan, batch, seen = gan_of(config), batches_of(config).at(1), []
    for network in gan.networks().values():
        for layer in network.modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    measures, expected = step(gan, batch), step(gan_of(full()), batch)
    assert set(seen) == {torch.bfloat16}
    assert {value.dtype for one in gan.networks().values() for value in parameters(one).values()} == {torch.float32}
    for name, value in expected.items():
        if name.startswith("loss/"):
            assert float(measures[name]) == pytest.approx(float(value), rel=0.05), name


@pytest.mark.parametrize(("precision", "kept"), [("float32", "ieee"), ("bfloat16", "ieee"), ("tf32", "tf32")])
def test_tf32_is_torchs_switch_for_products_on_a_gpu(full, plain, precision, kept):
    before = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision
    try:
        _set_precision(full({"compute.precision": precision}))
        found = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision
    finally:
        torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision = before
    assert found == (kept, kept)
    if precision == "tf32":
        tf32 = record(full({"compute.precision": "tf32"}))
        assert all(same(value, tf32[key]) for key, value in plain({}).items())  # a CPU has no such products


def test_channels_come_last_in_memory_where_they_are_asked_to(full):
    for last in (True, False):
        config = full({"compute.channels_last": last})
        gan, batch = gan_of(config), batches_of(config).at(1)
        assert gan.generator["conv1_2"].weight.is_contiguous(memory_format=torch.channels_last) is last
        assert batch.low.is_contiguous(memory_format=torch.channels_last) is last
        assert batch.low.is_contiguous() is not last


def test_compilation_is_asked_of_the_generators_training_and_of_vgg(full, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda call: asked.append(call) or call)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: asked.append(self))
    gan_of(full())
    assert asked == []
    gan = gan_of(full({"compute.compile": True}))
    assert asked == [gan.generator.train_forward, gan.features]
    assert all(
        torch.equal(one, other)
        for one, other in zip(gan.generator.parameters(), gan_of(full()).generator.parameters(), strict=True)
    )


@pytest.mark.slow
def test_a_compiled_training_has_the_same_losses(full):
    losses = []
    for compiled in (False, True):
        config = full({"compute.compile": compiled})
        measures = step(gan_of(config), batches_of(config).at(1))
        losses.append({name: float(value) for name, value in measures.items() if name.startswith("loss/")})
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_a_generator_without_an_attention_channel_starts_from_one_that_has_it(full, tmp_path):
    other = gan_of(full(), Streams(77))
    save_generator(tmp_path, other)
    settings = {"init": str(tmp_path / "generator.pt"), "generator.attention": "none"}
    started, theirs = gan_of(full(settings)).generator.state_dict(), other.generator.state_dict()
    assert torch.equal(started.pop("conv1_1.weight"), theirs["conv1_1.weight"][:, :3])
    assert all(torch.equal(value, theirs[name]) for name, value in started.items())


def test_a_generator_starts_from_a_file_and_nothing_else_does(full, tmp_path):
    other = gan_of(full(), Streams(77))
    save_generator(tmp_path, other)
    plain, started = gan_of(full()), gan_of(full({"init": str(tmp_path / "generator.pt")}))
    for name, value in started.generator.state_dict().items():
        assert torch.equal(value, other.generator.state_dict()[name])
    assert not torch.equal(plain.generator["conv1_1"].weight, started.generator["conv1_1"].weight)
    for name in ("global", "local"):
        assert all(map(torch.equal, plain.networks()[name].parameters(), started.networks()[name].parameters()))
    averaged = gan_of(full({"init": str(tmp_path / "generator.pt"), "stabilise.ema": 0.5})).average
    assert all(map(torch.equal, averaged.parameters(), other.generator.parameters()))


def test_the_duality_gap_is_measured_at_the_end_and_changes_nothing(tiny, folders, tmp_path):
    reports = {
        steps: list(train(tiny({"watch.duality_gap_steps": steps}), folders, seed=0, folder=tmp_path / str(steps)))
        for steps in (0, 2)
    }
    for plain, measured in zip(reports[0], reports[2], strict=True):
        added = {"health/duality_gap"} if measured.step == 4 else set()
        assert set(measured.metrics) - set(plain.metrics) == added
        same_keys = [key for key in plain.metrics if not key.startswith("time/")]
        np.testing.assert_equal([measured.metrics[key] for key in same_keys], [plain.metrics[key] for key in same_keys])
    first, second = (torch.load(tmp_path / name / "generator.pt", weights_only=True) for name in "02")
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_switch_is_no_hindrance_to_evaluation(full):
    """Each generator enhances an image of any size, padded or not, and is left in train mode."""
    image = np.random.default_rng(0).integers(0, 60, (37, 45, 3), dtype=np.uint8)
    for options in [case for case, _ in CASES if next(iter(case)).startswith("generator.")]:
        generator = gan_of(full(options)).generator
        scores, _ = evaluate(generator, [EvaluationImage("set", "name", "scene", image, None)])
        assert math.isfinite(scores[0].metrics["eval/contrast_levels"])
        assert generator.training


ELSEWHERE = {
    "compute.compile": test_compilation_is_asked_of_the_generators_training_and_of_vgg,
    "init": test_a_generator_starts_from_a_file_and_nothing_else_does,
}
