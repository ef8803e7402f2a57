"""Scoring a generator on whole images; `python -m trials.evaluate WEIGHTS DATA`.

Draws no random number and leaves the generator as it was. Exit status of the command: 0 every image was scored; 1 some
could not be (each is named); 2 the arguments or the weights cannot be used; 130 interrupted.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from trials import command, images, sets, weights
from trials.config import Data, EvaluationSet
from trials.data import load_evaluation
from trials.enhance import enhance, enhance_in_memory
from trials.images import Pixels
from trials.metrics import mean_scores, score
from trials.networks import Generator
from trials.progress import ImageScore, TrainError
from trials.sets import EvaluationImage
from trials.trainer import METRICS, Metric

__all__ = ["evaluate", "main", "scored"]

SHOWN = ("eval/psnr_db", "eval/ssim", "eval/niqe", "eval/ciede2000", "eval/loe", "eval/noise_levels")
"""The metrics of the table of images; that of means shows all."""
MOST_ROWS = 40
"""Images in the table of images."""

Row = tuple[ImageScore, ImageScore]
"""The scores of an input and of the output."""


def evaluate(
    generator: Generator,
    members: Sequence[EvaluationImage],
    *,
    pictures: Path | None = None,
    enhancer: Callable[[Generator, Pixels], Pixels] = enhance,
) -> tuple[list[ImageScore], dict[str, Path]]:
    """Score each image, enhanced.

    Args:
        generator: see `trials.enhance.enhance`.
        members: the images, some with a reference.
        pictures: where the enhanced images are written, as SET/NAME.png; None for nowhere.
        enhancer: what enhances an image.

    Returns:
        The scores, in the order of the images; and the pictures written, `SET/NAME` to their paths.

    Raises:
        DivergedError: if an output is not finite.
    """
    scores, written = [], {}
    for member in members:
        enhanced = enhancer(generator, member.low)
        scores.append(scored(enhanced, member))
        if pictures is not None:
            path = pictures / member.set / f"{member.name}.png"
            images.write(path, enhanced)
            written[f"{member.set}/{member.name}"] = path
    return scores, written


def scored(image: Pixels, member: EvaluationImage) -> ImageScore:
    """Return the score of an image that was made of `member`, or of its untouched input."""
    return ImageScore(member.set, member.name, member.scene, score(image, member.normal, member.low, member.hair))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    arguments = _parser().parse_args(argv)
    console = command.output()
    try:
        device = command.device_named(arguments.device)
        readers = _readers(arguments.data)
        generator = weights.load(arguments.weights, device)
    except TrainError as error:
        console.print(str(error))
        return 2
    try:
        rows, failed = _rows(generator, readers, arguments.pictures, console)
        if rows:
            _show(rows, console)
            if arguments.csv is not None:
                _write_csv(arguments.csv, rows)
    except OSError as error:
        console.print(f"{error.filename}: the file cannot be written ({error.strerror})")
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; nothing is kept: start again")
        return 130
    if failed:
        console.print(f"{failed} of {len(readers)} images could not be scored; see above")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trials.evaluate", description="Score a generator on images.")
    add = parser.add_argument
    add("weights", type=Path, metavar="WEIGHTS", help="*_net_G_A.pth, or generator.pt or checkpoint-STEP.pt")
    add("data", metavar="DATA", help="a folder with low/ and normal/, a folder of images, or: photos (bundled ones)")
    add("--csv", type=Path, metavar="FILE", help="write every score, a line for each image and method")
    add("--pictures", type=Path, metavar="DIR", help="write the enhanced images, as DIR/SET/NAME.png")
    add("--device", metavar="NAME", help="cpu, cuda or cuda:N (default: the GPU if there is one)")
    return parser


def _readers(data: str) -> list[tuple[str, Callable[[], EvaluationImage]]]:
    """Return the name of each image to be scored, and what reads it.

    Raises:
        DataError: if the data cannot be used.
    """
    if data == "photos":
        return [(one.name, partial(_same, one)) for one in load_evaluation(Data())]
    folder = Path(data)
    paired = (folder / "low").is_dir() and (folder / "normal").is_dir()
    wanted = EvaluationSet(low=folder / "low", normal=folder / "normal") if paired else EvaluationSet(low=folder)
    name = folder.resolve().name or "images"
    return [(member.name, partial(sets.read, name, member)) for member in sets.members(wanted)]


def _same(image: EvaluationImage) -> EvaluationImage:
    return image


def _rows(
    generator: Generator,
    readers: Sequence[tuple[str, Callable[[], EvaluationImage]]],
    pictures: Path | None,
    console: Console,
) -> tuple[list[Row], int]:
    """Score each image; name those that cannot be, and return how many they are."""
    rows: list[Row] = []
    failed = 0
    with command.bar(console, len(readers)) as begin:
        for number, (name, read) in enumerate(readers):
            enhancer = partial(enhance_in_memory, done=begin(name, number))
            try:
                member = read()
                scores, _ = evaluate(generator, [member], pictures=pictures, enhancer=enhancer)
            except TrainError as error:
                failed += 1
                console.print(str(error) if name in str(error) else f"{name}: {error}")
                continue
            rows.append((scored(member.low, member), scores[0]))
    return rows, failed


def _show(rows: list[Row], console: Console) -> None:
    """Print a table of the means of every metric, and one of images."""
    inputs, outputs = mean_scores([row[0] for row in rows]), mean_scores([row[1] for row in rows])
    measured = [metric for metric in METRICS if metric.key in outputs]
    count = f"{len(rows)} images" if len(rows) > 1 else "1 image"
    means = Table(title=f"mean over {count}, those without a value left out", title_justify="left", box=None)
    means.add_column("metric")
    means.add_column("input", justify="right")
    means.add_column("output", justify="right")
    for metric in measured:
        means.add_row(_title(metric), _number(inputs.get(metric.key)), _number(outputs[metric.key]))
    console.print(means)
    console.print()
    shown = [metric for metric in measured if metric.key in SHOWN]
    table = Table(box=None)
    table.add_column("image")
    table.add_column("")
    for metric in shown:
        table.add_column(_title(metric), justify="right")
    for before, after in rows[:MOST_ROWS]:
        for name, what, one in ((before.image, "input", before), ("", "output", after)):
            table.add_row(name, what, *(_number(one.metrics.get(metric.key)) for metric in shown))
    console.print(table)
    if len(rows) > MOST_ROWS:
        console.print(f"and {len(rows) - MOST_ROWS} more images: --csv writes all")


def _title(metric: Metric) -> str:
    """Return a metric's title with its direction."""
    arrow = {True: " ↑", False: " ↓", None: ""}[metric.higher_is_better]
    return f"{metric.title}{arrow}"


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def _write_csv(path: Path, rows: Iterable[Row]) -> None:
    """Write one line for each image and method (`input`, `output`); a metric without a value is left empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = [metric.key for metric in METRICS if metric.per_image]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["set", "image", "scene", "method", *keys])
    for row in rows:
        for method, one in zip(("input", "output"), row, strict=True):
            values = [one.metrics.get(key, math.nan) for key in keys]
            cells = ["" if math.isnan(value) else repr(value) for value in values]
            writer.writerow([one.set, one.image, one.scene, method, *cells])
    try:
        path.write_text(text.getvalue(), encoding="utf-8", newline="")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


if __name__ == "__main__":
    sys.exit(main())
