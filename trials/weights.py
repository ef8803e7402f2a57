"""A generator from a file: published weights (`*_net_G_A.pth`), `generator.pt` or `checkpoint-STEP.pt` of this trainer.

Files are read with torch's restricted unpickler: data only, no code that a file brings along is ever run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from trials import config, torch_file
from trials.canonical import content
from trials.images import listed
from trials.networks import Generator
from trials.progress import DataError
from trials.torch_file import DamagedError

__all__ = ["describe", "digest", "load", "read_state"]

EXPECTED = "expected a generator's *_net_G_A.pth, or generator.pt or checkpoint-STEP.pt of this trainer"
COUNTER = "num_batches_tracked"
"""Batch norm counts its batches since torch 0.4.1; published weights are older. No result depends on the count."""


@dataclass(frozen=True)
class _Content:
    """What a file holds: tensors under the official names, and the generator's settings if the file tells them."""

    state: dict[str, Tensor]
    settings: config.Generator | None


def read_state(path: Path) -> dict[str, Tensor]:
    """Return a generator's state dict, on the CPU, under the official names (131 for the published generator).

    The prefix `module.` of DataParallel is removed, and batch norm's counters are 0 where an old file has none.

    Raises:
        DataError: if the file cannot be read, or holds something else than one generator.
    """
    return _read(path)[0]


def load(path: Path, device: torch.device) -> Generator:
    """Return the generator of a file, in eval mode.

    Its settings are those of a checkpoint, or of the file of the same name with the extension .json. Without either
    they are inferred from the shapes (`describe`).

    Raises:
        DataError: as `read_state`, or if the file of settings cannot be used.
    """
    state, settings = _read(path)
    with torch.device("meta"):
        generator = Generator(settings)
    generator.load_state_dict(state, assign=True)
    return generator.to(device).eval()


def describe(state: Mapping[str, Tensor]) -> config.Generator:
    """Return a generator's settings, as far as names and shapes tell: the others are the published ones.

    They tell width, depth, skip connections, norm, transposed upsampling, and whether attention is an input channel.
    Three input channels are taken for no attention at all.

    Args:
        state: tensors under the official names, with `conv1_1.weight` among them.

    Raises:
        ValidationError: if the width or the depth is beyond what a generator can have.
    """
    outputs, inputs = state["conv1_1.weight"].shape[:2]
    found = {name for name in state if re.fullmatch(r"(de)?conv\w+\.weight", name)}
    depth = min(range(1, 7), key=lambda depth: len(found ^ _convolutions(depth)))  # whatever is missing
    decoder, deepest = state.get(f"conv{depth + 2}_1.weight"), state.get(f"deconv{depth + 1}.weight")
    norms = [name for name in state if name.startswith("bn")]
    norm = "batch" if any("running" in name for name in norms) else "instance" if norms else "none"
    return config.Generator.model_validate({
        "width": outputs,
        "depth": depth,
        "attention": "none" if inputs == 3 else "self_regularised",
        "skips": decoder is None or decoder.shape[1] != decoder.shape[0],
        "norm": norm,
        "upsampling": "transposed" if deepest is not None and deepest.shape[-1] == 4 else "bilinear_aligned",
    })  # fmt: skip


def _convolutions(depth: int) -> set[str]:
    """Return the names of the weights of all convolutions of a generator of this depth."""
    last = 2 * depth + 1
    blocks = {f"conv{stage}_{place}.weight" for stage in range(1, last + 1) for place in (1, 2)}
    return blocks | {f"deconv{stage}.weight" for stage in range(depth + 1, last)} | {f"conv{last + 1}.weight"}


def digest(path: Path) -> str:
    """Return a digest of a file's content: the first 32 hexadecimal digits of its SHA-256.

    Raises:
        DataError: if the file cannot be read.
    """
    try:
        return content(path)
    except OSError as error:
        raise DataError(f"{path}: the weights cannot be read ({error.strerror}); {EXPECTED}") from error


def _read(path: Path) -> tuple[dict[str, Tensor], config.Generator]:
    """Return the state of the generator in a file, complete and of the right shapes, and its settings."""
    content = _content(path)
    _require_generator(content.state, path)
    try:
        settings = content.settings or _sibling(path) or describe(content.state)
    except ValidationError as error:
        reason = error.errors()[0]
        raise DataError(f"{path}: no generator has a {reason['loc'][0]} of {reason['input']}; {EXPECTED}") from error
    with torch.device("meta"):
        wanted = Generator(settings).state_dict()
    state = {name: content.state.get(name, _absent(name)) for name in wanted}
    _require_fitting(content.state, state, wanted, path)
    whole = {name: value for name, value in state.items() if value is not None}
    return {name: value.float() if value.is_floating_point() else value for name, value in whole.items()}, settings


def _absent(name: str) -> Tensor | None:
    return torch.tensor(0) if name.endswith(COUNTER) else None


def _content(path: Path) -> _Content:
    loaded = _unpickled(path)
    if not isinstance(loaded, Mapping):
        raise DataError(f"{path}: the file holds a {type(loaded).__name__}; {EXPECTED}")
    if {"origin", "networks"} <= loaded.keys():
        if not (isinstance(loaded["origin"], Mapping) and isinstance(loaded["networks"], Mapping)):
            raise DataError(f"{path}: this is no checkpoint of this trainer; {EXPECTED}")
        return _Content(dict(_of_checkpoint(loaded)), _settings_of(loaded["origin"], path))
    state = {str(name).removeprefix("module."): value for name, value in loaded.items()}
    return _Content({name: value for name, value in state.items() if isinstance(value, Tensor)}, None)


def _unpickled(path: Path) -> Any:
    try:
        return torch_file.read(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file of weights; {EXPECTED}") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(f"{path}: the weights cannot be read ({reason}); {EXPECTED}") from error
    except DamagedError as error:
        if error.code:
            raise DataError(
                f"{path}: the file holds a pickled object that needs the code {error.code}, perhaps a whole module, "
                f"and such code is never run; {EXPECTED}, as torch.save(network.state_dict(), FILE) writes it"
            ) from error
        raise DataError(f"{path}: the file is no weights of torch, or damaged ({error}); {EXPECTED}") from error


def _of_checkpoint(content: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """Return the state that the trainer evaluates: the generator's, or its average where one is kept."""
    networks: Mapping[str, Mapping[str, Tensor]] = content["networks"]
    return networks.get("average") or networks.get("generator") or {}


def _settings_of(origin: Mapping[str, Any], path: Path) -> config.Generator:
    """Return the generator's settings from those of a training, which are named `generator.width` and so on."""
    settings: dict[str, Any] = {}
    for name, value in origin.items():
        section, *parts = name.split(".")
        if section == "generator" and parts:
            node = settings
            for part in parts[:-1]:
                node = node.setdefault(part, {})
            node[parts[-1]] = value
    try:
        return config.Generator.model_validate(settings)
    except ValidationError as error:
        raise DataError(f"{path}: the checkpoint is of another version of this trainer ({_first(error)})") from error


def _sibling(path: Path) -> config.Generator | None:
    """Return the settings in the file beside the weights, `generator.json` for `generator.pt`; None without it."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return None
    try:
        return config.Generator.model_validate_json(beside.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{beside}: the settings beside the weights cannot be read ({error})") from error
    except ValidationError as error:
        raise DataError(
            f"{beside}: expected the generator's settings, as the trainer writes them beside its weights, but "
            f"{_first(error)}; correct or remove the file"
        ) from error


def _first(error: ValidationError) -> str:
    one = error.errors()[0]
    return f"{'.'.join(map(str, one['loc'])) or 'content'}: {one['msg']}"


def _require_generator(state: Mapping[str, Tensor], path: Path) -> None:
    first = state.get("conv1_1.weight")
    if first is not None and first.ndim == 4 and first.shape[1] in (3, 4):
        return
    if "model.0.weight" in state:
        raise DataError(
            f"{path}: this looks like a discriminator's weights (model.0.weight, as in *_net_D_A.pth); {EXPECTED}"
        )
    if first is None and "conv1_2.weight" in state:
        raise DataError(f"{path}: not the weights of a generator: missing: conv1_1.weight; {EXPECTED}")
    found = listed(list(state)) if state else "no tensor"
    if first is not None:
        found = f"conv1_1.weight of shape {tuple(first.shape)} instead of (width, 4 or 3, 3, 3)"
    raise DataError(f"{path}: {EXPECTED}, but the file holds {found}")


def _require_fitting(
    found: Mapping[str, Tensor], state: Mapping[str, Tensor | None], wanted: Mapping[str, Tensor], path: Path
) -> None:
    """Compare names and shapes, and say in one sentence what is missing, too many, or of another shape."""
    missing = [name for name, value in state.items() if value is None]
    unknown = [name for name in found if name not in wanted]
    other = [
        f"{name} (expected {tuple(wanted[name].shape)}, found {tuple(value.shape)})"
        for name, value in state.items()
        if value is not None and value.shape != wanted[name].shape
    ]
    strange = [
        f"{name} (of {value.dtype})"
        for name, value in state.items()
        if value is not None and (value.is_meta or value.is_floating_point() != wanted[name].is_floating_point())
    ]
    faults = (
        ("missing", missing), ("of another shape", other), ("no numbers of floating point", strange),
        ("not a generator's", unknown),
    )  # fmt: skip
    said = "; ".join(f"{what}: {listed(names)}" for what, names in faults if names)
    if said:
        raise DataError(f"{path}: not the weights of this generator of {len(wanted)} entries: {said}")
