import hashlib
import io
import pickle
import re
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from tests.trials import official
from trials import config, weights
from trials.networks import Discriminator
from trials.progress import DataError
from trials.train import train

CPU = torch.device("cpu")


def state_of(**settings):
    return official.filled(official.generator(**settings)).state_dict()


def saved(tmp_path, content, name="200_net_G_A.pth", **options):
    torch.save(content, tmp_path / name, **options)
    return tmp_path / name


def without_counters(state):
    return OrderedDict((name, value) for name, value in state.items() if not name.endswith("num_batches_tracked"))


def prefixed(state):
    return OrderedDict((f"module.{name}", value) for name, value in state.items())


def as_torch_031(state):
    """Return the bytes of a file as torch 0.3.1 wrote it: pickles one after the other, `_rebuild_tensor`, no counters.

    From the format's description: magic number, protocol, system, the object with storages by key, the keys, the data.
    """
    storages = {}

    class Stored:
        def __init__(self, tensor):
            self.key, self.tensor = str(len(storages)), tensor

    class Rebuilt:
        def __init__(self, tensor):
            self.tensor = tensor

        def __reduce__(self):
            one = Stored(self.tensor)
            storages[one.key] = one.tensor
            return torch._utils._rebuild_tensor, (one, 0, tuple(self.tensor.shape), self.tensor.stride())

    class Pickler(pickle._Pickler):
        def persistent_id(self, thing):
            if isinstance(thing, Stored):
                return ("storage", torch.FloatStorage, thing.key, "cpu", thing.tensor.numel(), None)
            return None

    file = io.BytesIO()
    for head in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}):
        pickle.dump(head, file, protocol=2)
    Pickler(file, protocol=2).dump(OrderedDict((name, Rebuilt(value)) for name, value in state.items()))
    pickle.dump(list(storages), file, protocol=2)
    for value in storages.values():
        file.write(value.numel().to_bytes(8, "little") + value.contiguous().numpy().tobytes())
    return file.getvalue()


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize(
    "form", [dict, OrderedDict, prefixed, without_counters, lambda s: prefixed(without_counters(s))]
)
@torch.no_grad()
def test_an_official_file_gives_the_generator_it_was_saved_from(tmp_path, form, legacy):
    path = saved(tmp_path, form(state_of()), _use_new_zipfile_serialization=not legacy)
    generator = weights.load(path, CPU)
    assert not generator.training
    expected = official.FIGURES["generator eval align_corners=True"]["mean"]
    assert float(generator(official.image(2, 64, 64)).mean()) == pytest.approx(expected, abs=1e-5)


def test_a_file_as_torch_0_3_1_wrote_it_loads(tmp_path):
    state = state_of(width=2)
    path = tmp_path / "old.pth"
    path.write_bytes(as_torch_031(without_counters(state)))
    found = weights.read_state(path)
    assert list(found) == list(state)
    assert all(torch.equal(found[name], value) for name, value in without_counters(state).items())
    assert int(found["bn3_1.num_batches_tracked"]) == 0


def test_the_names_are_the_official_ones_whatever_the_prefix(tmp_path):
    assert list(weights.read_state(saved(tmp_path, prefixed(state_of(width=1))))) == list(state_of(width=1))


def test_half_precision_weights_are_computed_in_single(tmp_path):
    halved = {name: value.half() if value.is_floating_point() else value for name, value in state_of(width=1).items()}
    assert weights.load(saved(tmp_path, halved), CPU)["conv1_1"].weight.dtype == torch.float32


@pytest.mark.parametrize(
    "settings",
    [
        {"width": 2}, {"width": 3, "attention": "none"}, {"width": 2, "depth": 2}, {"width": 2, "skips": False},
        {"width": 2, "norm": "instance"}, {"width": 2, "norm": "none"}, {"width": 2, "upsampling": "transposed"},
    ],
)  # fmt: skip
def test_shapes_tell_the_settings(tmp_path, settings):
    state = state_of(**settings)
    assert weights.describe(state) == config.Generator(**settings)
    assert weights.load(saved(tmp_path, state), CPU).settings == config.Generator(**settings)


def test_what_shapes_do_not_tell_is_taken_as_published():
    assert weights.describe(state_of(width=1, upsampling="nearest", pool="average")) == config.Generator(width=1)


def test_settings_beside_the_weights_are_read(tmp_path):
    settings = config.Generator(width=1, upsampling="nearest")
    path = saved(tmp_path, state_of(width=1), "generator.pt")
    (tmp_path / "generator.json").write_text(settings.model_dump_json())
    assert weights.load(path, CPU).settings == settings


@pytest.mark.parametrize(("text", "said"), [("{", "JSON"), ('{"width": "x"}', "width"), ('{"wdth": 1}', "wdth")])
def test_wrong_settings_beside_the_weights_are_refused(tmp_path, text, said):
    path = saved(tmp_path, state_of(width=1), "generator.pt")
    (tmp_path / "generator.json").write_text(text)
    with pytest.raises(DataError, match=rf"generator\.json: .*{said}.*; correct or remove the file"):
        weights.load(path, CPU)


def test_settings_beside_the_weights_must_fit_them(tmp_path):
    path = saved(tmp_path, state_of(width=2), "generator.pt")
    (tmp_path / "generator.json").write_text('{"width": 3}')
    with pytest.raises(
        DataError, match=r"conv1_1\.weight \(expected \(3, 4, 3, 3\), found \(2, 4, 3, 3\)\).* and \d+ m"
    ):
        weights.load(path, CPU)


def test_a_training_leaves_files_that_load_with_its_settings(tiny, folders, tmp_path):
    chosen = tiny(
        {"steps": 2, "stabilise.ema": 0.5, "generator.upsampling": "nearest", "generator.attend": {"skips": False}}
    )
    (report,) = train(chosen, folders, seed=0, folder=tmp_path)
    result, kept = (weights.load(tmp_path / name, CPU) for name in ("generator.pt", report.checkpoint))
    assert result.settings == kept.settings == chosen.generator
    # The result is the average, not the generator that goes on being trained.
    trained = torch.load(tmp_path / report.checkpoint, weights_only=True)["networks"]["generator"]
    assert torch.equal(result["conv5_1"].weight, kept["conv5_1"].weight)
    assert not torch.equal(result["conv5_1"].weight, trained["conv5_1.weight"])


class Malicious:
    """An object whose unpickling makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("how", ["zip", "legacy", "pickle", "nested"])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, how):
    made = tmp_path / "made"
    path = tmp_path / "w.pth"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Malicious(made)))
    else:
        content = {"conv1_1.weight": Malicious(made)} if how == "nested" else Malicious(made)
        torch.save(content, path, _use_new_zipfile_serialization=how != "legacy")
    with pytest.raises(DataError, match=r"w\.pth: the file (holds a pickled object that needs the code|is no weights)"):
        weights.read_state(path)
    assert not made.exists()
    pickle.loads(pickle.dumps(Malicious(made)))  # it would have worked
    assert made.exists()


@pytest.mark.parametrize("legacy", [True, False])
def test_a_whole_module_is_refused_in_words(tmp_path, legacy):
    path = saved(tmp_path, official.generator(width=1), _use_new_zipfile_serialization=not legacy)
    with pytest.raises(DataError, match=r"needs the code trials\.networks\.Generator, perhaps a whole module"):
        weights.read_state(path)


def test_a_discriminator_is_recognised(tmp_path):
    path = saved(tmp_path, prefixed(Discriminator(2, 4).state_dict()), "200_net_D_A.pth")
    with pytest.raises(DataError, match=r"200_net_D_A\.pth: this looks like a discriminator's weights"):
        weights.read_state(path)


def test_what_is_missing_is_named_three_times_and_counted(tmp_path):
    state = {name: value for name, value in state_of(width=1).items() if not name.startswith(("conv9", "conv10"))}
    said = r"of 131 entries: missing: conv9_1\.weight, conv9_1\.bias, conv9_2\.weight and 3 more$"
    with pytest.raises(DataError, match=said):
        weights.read_state(saved(tmp_path, state))


def test_shapes_and_unknown_names_are_said_in_the_same_sentence(tmp_path):
    state = state_of(width=1) | {"conv2_1.weight": torch.zeros(2, 1, 5, 5), "extra.weight": torch.zeros(1)}
    said = r"conv2_1\.weight \(expected \(2, 1, 3, 3\), found \(2, 1, 5, 5\)\); not a generator's: extra\.weight$"
    with pytest.raises(DataError, match=said):
        weights.read_state(saved(tmp_path, state))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "the file holds a list"),
        ({}, "but the file holds no tensor"),
        ({"features.0.weight": torch.zeros(1)}, r"but the file holds features\.0\.weight"),
        ({"conv1_1.weight": torch.zeros(64, 3)}, r"conv1_1\.weight of shape \(64, 3\) instead of"),
        ({"conv1_1.weight": torch.zeros(999, 4, 3, 3), "deconv1.weight": torch.zeros(1, 1, 3, 3)}, "a width of 999"),
    ],
)
def test_other_content_is_refused_with_what_was_expected(tmp_path, content, said):
    with pytest.raises(DataError, match=said) as raised:
        weights.read_state(saved(tmp_path, content))
    assert "expected a generator's *_net_G_A.pth" in str(raised.value)


@pytest.mark.parametrize("cut", [0, 10, 300, -200])
def test_a_damaged_file_is_refused(tmp_path, cut):
    path = saved(tmp_path, state_of(width=1))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match="no weights of torch, or damaged"):
        weights.read_state(path)


@pytest.mark.parametrize(("name", "said"), [("none.pth", "there is no such file"), (".", "cannot be read")])
def test_a_path_that_is_no_file_is_refused(tmp_path, name, said):
    for reading in (weights.read_state, weights.digest):
        with pytest.raises(DataError, match=said if reading is weights.read_state else "cannot be read"):
            reading(tmp_path / name)


def test_the_digest_is_that_of_the_content(tmp_path):
    path = saved(tmp_path, state_of(width=1))
    assert weights.digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()[:32]


NAMES = [name for name in official.generator(width=1).state_dict() if not name.endswith("num_batches_tracked")]


@pytest.mark.parametrize("missing", NAMES)
def test_whichever_entry_is_missing_it_alone_is_named(tmp_path, missing):
    state = official.generator(width=2).state_dict()
    del state[missing]
    torch.save(state, tmp_path / "200_net_G_A.pth")
    with pytest.raises(DataError, match=rf"missing: {re.escape(missing)}(;|$)"):
        weights.read_state(tmp_path / "200_net_G_A.pth")


@pytest.mark.parametrize("content", [{"origin": 3, "networks": {}}, {"origin": {}, "networks": {}}])
def test_what_only_looks_like_a_checkpoint_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "checkpoint-1.pt")
    with pytest.raises(DataError, match="expected a generator's"):
        weights.read_state(tmp_path / "checkpoint-1.pt")


def test_weights_that_are_no_floating_point_numbers_are_refused(tmp_path):
    state = official.generator(width=2).state_dict()
    state["conv3_1.weight"] = state["conv3_1.weight"].to(torch.int8)
    torch.save(state, tmp_path / "G.pth")
    with pytest.raises(DataError, match=r"no numbers of floating point: conv3_1\.weight \(of torch\.int8\)$"):
        weights.read_state(tmp_path / "G.pth")
