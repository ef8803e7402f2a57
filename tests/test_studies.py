"""The study files that come with the project: each is a sound spec, and says what it claims to."""

from pathlib import Path

import pytest

from platform.design import configured, variants
from platform.spec_file import read
from trials.canonical import canonical
from trials.config import Config

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "ablation.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_is_a_sound_spec(path):
    assert len(variants(read(path).spec)) > 1


def test_the_placebo_study_trains_the_full_model_alone():
    study = read(ROOT / "studies" / "placebo.yaml")
    assert [(one.name, one.overrides, one.stream) for one in variants(study.spec)] == [
        ("baseline", {}, ""),
        ("placebo", {}, "placebo"),
    ]
    assert 2 * len(study.spec.seed_list) == 48


def test_the_paper_is_the_trainers_default_but_for_three_gpus_and_what_is_watched():
    default, paper = canonical(Config()), canonical(read(ROOT / "studies" / "paper.yaml").config)
    assert paper["generator"] == default["generator"] | {"norm_splits": 3}
    assert paper["local"] == default["local"] | {"border": "official"}
    assert {name for name in default if paper[name] != default[name]} == {"generator", "local", "watch"}


def test_each_remedy_is_added_alone_to_a_model_without_any():
    study = read(ROOT / "studies" / "remedies.yaml")
    made = {one.name: configured(Config, study.config, one.overrides) for one in variants(study.spec)}
    bare, published = made["bare"], Config()
    assert bare.stabilise == published.stabilise
    assert bare.optimiser.discriminator_learning_rate is None
    for name in ("colour_constancy", "identity", "gradient", "total_variation"):
        assert getattr(bare.loss, name) == getattr(published.loss, name) == 0
    for name in study.spec.components:
        alone, without = _flat(canonical(made[f"only_{name}"])), _flat(canonical(bare))
        (path,) = study.spec.components[name]
        assert alone[path] != without[path]
        assert {key for key in without if alone[key] != without[key]} == {path}


def _flat(settings, prefix=""):
    flat = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
