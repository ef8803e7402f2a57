"""Sheets of sample pictures: input, output and reference of a few images side by side, as a training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice, zip_longest
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from trials import images, sets, weights
from trials.config import Data
from trials.data import load_evaluation
from trials.enhance import enhance_in_memory
from trials.images import Pixels
from trials.progress import Report
from trials.sets import EvaluationImage

__all__ = ["chosen", "sheet", "write"]

MOST = 4
CELL_PX = 320
HEAD_PX = 16
GAP_PX = 4


def chosen(data: Data) -> list[EvaluationImage]:
    """Return at most four images to be shown: of every set the first, then of every set the second, and so on.

    Raises:
        DataError: if a folder or a file cannot be used.
    """
    if not data.evaluate:
        return load_evaluation(data)[:MOST]
    found = [[(name, member) for member in sets.members(wanted)] for name, wanted in sorted(data.evaluate.items())]
    in_turn = (one for one in chain.from_iterable(zip_longest(*found)) if one is not None)
    return [sets.read(name, member) for name, member in islice(in_turn, MOST)]


def write(folder: Path, report: Report, shown: Sequence[EvaluationImage]) -> Path:
    """Write the sheet of a report, made from its checkpoint in the folder: samples/step-NNNNNN.png; return its path.

    Raises:
        ValueError: if the report has no checkpoint.
    """
    if report.checkpoint is None:
        raise ValueError("samples are made from a checkpoint, but the report has none")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = weights.load(folder / report.checkpoint, device)
    outputs = [enhance_in_memory(generator, one.low) for one in shown]
    path = folder / "samples" / f"step-{report.step:06d}.png"
    images.write(path, sheet(shown, outputs))
    return path


def sheet(shown: Sequence[EvaluationImage], outputs: Sequence[Pixels]) -> Pixels:
    """Return the picture: a row for each image, columns input, output and, if any has one, reference.

    Images are scaled down to 320 pixels of width.
    """
    columns = {"input": [one.low for one in shown], "output": list(outputs)}
    references = [one.normal for one in shown]
    rows = [[_cell(image) for image in row] for row in zip(*columns.values(), references, strict=True)]
    heads = [*columns, *(["reference"] if any(one is not None for one in references) else [])]
    heights = [max(cell.height for cell in row if cell is not None) for row in rows]
    page = Image.new(
        "RGB", (len(heads) * (CELL_PX + GAP_PX) - GAP_PX, HEAD_PX + sum(heights) + GAP_PX * (len(rows) - 1)), "white"
    )
    for column, head in enumerate(heads):
        ImageDraw.Draw(page).text((column * (CELL_PX + GAP_PX) + 2, 2), head, fill="black")
        top = HEAD_PX
        for row, height in zip(rows, heights, strict=True):
            cell = row[column]
            if cell is not None:
                page.paste(cell, (column * (CELL_PX + GAP_PX), top))
            top += height + GAP_PX
    return np.array(page)


def _cell(image: Pixels | None) -> Image.Image | None:
    if image is None:
        return None
    height, width = image.shape[:2]
    cell = Image.fromarray(image)
    if width <= CELL_PX:
        return cell
    return cell.resize((CELL_PX, max(1, round(height * CELL_PX / width))), Image.Resampling.LANCZOS)
