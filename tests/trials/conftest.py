"""A trainer that trains in a second: tiny networks, tiny images of noise."""

import numpy as np
import pytest

from trials import images
from trials.config import Config, Data


@pytest.fixture(scope="session")
def tiny():
    """Return a maker of configurations: `tiny({"local.patches": 3})` sets by dotted name, in any section."""

    def make(overrides=None):
        settings = {
            "steps": 4, "batch": 2, "crop_px": 32, "evaluate_every": 2, "pairing": "independent",
            "generator": {"width": 2}, "global": {"layers": 2, "width": 4},
            "local": {"layers": 2, "width": 4, "patches": 2, "patch_px": 16},
            "vgg": {"weights": "random", "layer": "relu1_1"},
            "optimiser": {"learning_rate": 1e-3, "epoch_steps": 1}, "loss": {}, "augment": {},
        }  # fmt: skip
        for path, value in (overrides or {}).items():
            *sections, name = path.split(".")
            place = settings
            for section in sections:
                place = place.setdefault(section, {})
            place[name] = value
        return Config(**settings)

    return make


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Folders of small images: three low, two normal, a set of two pairs and a set without references."""
    root, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    sizes = {"low": (3, 40, 48), "normal": (2, 36, 50), "pairs/low": (2, 37, 45), "pairs/normal": (2, 37, 45)}
    for folder, (count, height, width) in (sizes | {"single": (1, 100, 200)}).items():
        brightest = 60 if folder in ("low", "pairs/low") else 256
        for number in range(count):
            noise = random.integers(0, brightest, (height, width, 3), dtype=np.uint8)
            images.write(root / folder / f"{number}.png", noise)
    pairs = {"low": root / "pairs" / "low", "normal": root / "pairs" / "normal"}
    single = {"low": root / "single"}
    return Data(source="folders", low=root / "low", normal=root / "normal", evaluate={"pairs": pairs, "single": single})
