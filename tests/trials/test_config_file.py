import json
import os
from pathlib import Path

import pytest

from trials.config_file import ConfigError, read

SOUND = "train:\n  steps: 20\n  generator: {width: 2}\n  optimiser: {learning_rate: 1e-3}\n"


def written(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


def problems(tmp_path, text, *overrides):
    with pytest.raises(ConfigError) as raised:
        read(written(tmp_path, text), overrides)
    return raised.value.problems


def test_a_file_is_read_with_its_numbers_and_the_published_defaults(tmp_path):
    settings = read(written(tmp_path, SOUND))
    assert (settings.config.steps, settings.config.batch) == (20, 32)
    assert settings.config.optimiser.learning_rate == 1e-3
    assert settings.data.source == "photos"
    assert settings.ignored == []


def test_the_sections_of_a_study_are_named_as_ignored(tmp_path):
    settings = read(written(tmp_path, f"study: s\n{SOUND}components: {{}}\nseeds: 3\ndata:\n"))
    assert settings.ignored == ["study", "components", "seeds"]


def test_the_demo_study_can_be_read():
    assert read(Path(__file__).parents[2] / "ablation.yaml").config.generator.width == 8


def test_overrides_win(tmp_path):
    overrides = ["train.steps=7", "train.loss.sfp_local = 0.5", "train.global.width=8", "train.vgg={weights: random}"]
    config = read(written(tmp_path, SOUND), overrides).config
    assert (config.steps, config.loss.sfp_local, config.global_.width) == (7, 0.5, 8)
    assert (config.vgg.weights, config.generator.width) == ("random", 2)


def test_folders_are_relative_to_the_file_and_those_of_overrides_to_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    text = "data: {source: folders, low: low, normal: /n, evaluate: {a: x, b: {low: y, normal: z, scenes: s.csv}}}"
    data = read(written(tmp_path, text), ["data.normal=mine", "data.evaluate.c=w"]).data
    assert (data.low, data.normal) == (tmp_path / "low", tmp_path / "here" / "mine")
    assert (data.evaluate["a"].low, data.evaluate["b"].normal) == (tmp_path / "x", tmp_path / "z")
    assert data.evaluate["b"].scenes == str(tmp_path / "s.csv")
    assert data.evaluate["c"].low == tmp_path / "here" / "w"


@pytest.mark.timeout(20)
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "c.yaml")
    with pytest.raises(ConfigError) as raised:
        read(tmp_path / "c.yaml")
    assert raised.value.problems == ["expected a text, but this is a pipe or a device; name a file"]


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcde", "bcdef", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "line 5: expected at most 30000 values"),
        ("train: " + "[" * 40 + "]" * 40, "expected at most 30 sections within each other"),
        ("train: &a {x: *a}", r"\*a stands within what it stands for"),
        ("train: !!python/object:os.system {}", r"a spec holds plain values, but here is a tag"),
        ('train: {init: "a\\e[2Jb"}', r"here is the character U\+001B"),
        ("#" * (1 << 20) + "\n", "expected at most 1048576 bytes"),
        (f"train: {{steps: {'9' * 5000}}}", "this is not YAML: Exceeds the limit"),
    ],
)
def test_a_file_that_no_training_needs_is_refused_before_it_takes_time_or_memory(tmp_path, text, said):
    with pytest.raises(ConfigError, match=said):
        read(written(tmp_path, text))


def test_every_problem_is_found_at_once(tmp_path):
    text = "train: {steps: 0, generator: {widht: 4, depth: x}, loss: {convention: cod}, local: 4, augment: {flip: 1}}\n"
    found = problems(
        tmp_path, f"{text}data: {{source: folders, low: a}}\n", "steps=4", "train.steps", "train.genrator.a=1"
    )
    assert sorted(found) == sorted([
        "train.steps: expected a number greater than or equal to 1, got 0",
        "train.generator.widht: unknown setting; did you mean `width`?",
        'train.generator.depth: expected a whole number, got "x"',
        "train.loss.convention: expected 'code' or 'paper', got \"cod\"",
        "train.local: expected `key: value` pairs, got 4",
        "train.augment.flip: expected true or false, got 1",
        "train.genrator: unknown setting; did you mean `generator`?",
        "data: source: folders needs `normal`, a folder of normal-light images, and `evaluate`, at least one named "
        "set: {NAME: {low: DIR, normal: DIR}}",
        "--set steps=4: expected a path below train or data, did you mean `train.steps`?",
        "--set train.steps: expected path=value, such as train.steps=200",
    ])  # fmt: skip


def test_settings_that_exclude_each_other_are_said_in_the_configurations_own_words(tmp_path):
    (found,) = problems(tmp_path, "train: {crop_px: 32, local: {patch_px: 64}}")
    assert found == "train: local.patch_px must not exceed crop_px, but 64 > 32"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trian: {steps: 4}", "trian: unknown section; did you mean `train`?"),
        ("steps: 4", "steps: expected below `train`, got it beside; indent it there"),
        ("evaluate: {a: b}", "evaluate: expected below `data`, got it beside; indent it there"),
        ("- 1", "expected `train: ...` and `data: ...`, got [1]"),
        ("", "expected `train: ...` and `data: ...`, got null"),
        ("train: {", "this is not YAML: while parsing a flow"),
        ("train: {steps: 1}\ntrain: {steps: 2}", 'found duplicate key "train"'),
        ("train: 5", "train: expected `key: value` pairs, got 5"),
    ],
)
def test_a_file_that_is_no_settings_is_refused(tmp_path, text, said):
    assert any(said in problem for problem in problems(tmp_path, text))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.steps.x=1", "train.steps holds a value, so nothing can be set below it"),
        ("train.steps={", "the value is not YAML"),
        ("train.lr=1", "train.lr: unknown setting; valid are augment, batch"),
        ("learning_rate=1", "did you mean `train.optimiser.learning_rate`?"),
        ("train=4", "expected a path below train or data"),
        ("train..steps=4", "expected path=value"),
    ],
)
def test_wrong_overrides_are_refused(tmp_path, override, said):
    assert any(said in problem for problem in problems(tmp_path, SOUND, override))


def test_the_message_names_the_file_and_counts(tmp_path):
    with pytest.raises(ConfigError, match=r"c\.yaml: 1 problem\n  train\.steps: expected a number greater"):
        read(written(tmp_path, "train: {steps: 0}"))


@pytest.mark.parametrize("name", ["none.yaml", "."])
def test_a_missing_or_unreadable_file_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=r"expected a (YAML file|readable)"):
        read(tmp_path / name)


def test_files_of_weights_lie_beside_the_file_that_names_them_and_words_are_words(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("train: {init: weights/200_net_G_A.pth, vgg: {weights: vgg16.pth}}\n")
    found = read(path).config
    assert found.init == str(tmp_path / "weights/200_net_G_A.pth")
    assert found.vgg.weights == str(tmp_path / "vgg16.pth")
    assert read(path, ["train.vgg.weights=random"]).config.vgg.weights == "random"
    assert read(path, ["train.init=other.pth"]).config.init == str(Path.cwd() / "other.pth")


def test_a_name_that_no_path_can_have_is_kept_as_it_is(tmp_path):
    path, name = tmp_path / "c.yaml", "~nosuchuser/images"
    quoted = json.dumps(name)
    path.write_text(
        f"train: {{init: {quoted}}}\ndata: {{source: folders, low: {quoted}, normal: n, evaluate: {{a: b}}}}\n"
    )
    found = read(path)
    assert found.config.init == name
    assert str(found.data.low) == name
