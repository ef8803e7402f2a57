"""Specs for tests: a small study, as text and as checked data."""

from pathlib import Path

from platform.spec_file import read

SMALL = """\
study: small
train: {steps: 40, evaluate_every: 10, crop_px: 32, batch: 2}
components:
  attention: {generator.attention: none}
  local_sfp: {loss.sfp_local: 0}
seeds: 2
"""


def written(folder: Path, text: str = SMALL) -> Path:
    path = folder / "spec.yaml"
    path.write_text(text)
    return path


def study(folder: Path, *settings: str, text: str = SMALL):
    return read(written(folder, text), settings)
