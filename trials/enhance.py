"""Enhancing pictures with a generator; `python -m trials.enhance WEIGHTS IMAGE... --out DIR`.

Exit status: 0 every picture was enhanced; 1 some could not be (each is named); 2 the arguments or the weights cannot
be used, and nothing was written; 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional

from trials import command, images, tiles, weights
from trials.command import Advance
from trials.images import Pixels, listed
from trials.networks import Generator
from trials.progress import DataError, DivergedError, TrainError

__all__ = ["enhance", "enhance_in_memory", "main"]

OFFICIAL_WIDTH_PX = 2200
"""Pictures wider than this are halved by the official code."""
SMALLEST_TILE_PX = 64


def _unheard(share: float) -> None:
    """Take no notice of progress."""


@torch.inference_mode()
def enhance(
    generator: Generator,
    image: Pixels,
    *,
    tile_px: int | None = None,
    official: bool = False,
    done: Advance = _unheard,
) -> Pixels:
    """Return an image as the generator in eval mode enhances it, at full size.

    The output is clamped to [-1, 1] and rounded to 8 bit.

    Args:
        generator: its mode is restored afterwards.
        image: (H, W, 3) uint8, of any size.
        tile_px: side of the tiles that are computed one by one; None for the whole at once. See `trials.tiles`.
        official: do as the official code does: decimals are cut off, which darkens by half a grey level, and an image
            wider than 2200 px is halved first and doubled after, which loses a row or column of an odd size.
        done: told after each tile which share is done.

    Raises:
        DataError: if tiles are asked for and the generator looks at the whole image.
        DivergedError: if the output is not finite.
    """
    training = generator.training
    generator.eval()
    try:
        output = _output(generator, image, tile_px=tile_px, official=official, done=done)
    finally:
        generator.train(training)
    if not bool(torch.isfinite(output).all()):
        raise DivergedError("the generator's output is not finite")
    if official:
        levels = ((output + 1) / 2 * 255).clamp(0, 255).to(torch.uint8)
    else:
        levels = ((output.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(1, 2, 0).cpu().numpy())


def enhance_in_memory(
    generator: Generator,
    image: Pixels,
    *,
    official: bool = False,
    done: Advance = _unheard,
    say: Callable[[str], None] = lambda text: None,
) -> Pixels:
    """Return what `enhance` returns, in tiles if the memory that is free does not suffice for the whole.

    Args:
        generator: see `enhance`.
        image: see `enhance`.
        official: see `enhance`.
        done: see `enhance`.
        say: told in a sentence when tiles are used.

    Raises:
        DataError: if memory does not even suffice for small tiles, or tiles cannot be used.
        DivergedError: if the output is not finite.
    """
    height, width = image.shape[:2]
    tile_px = _fitting_tile_px(generator, height, width)
    while True:
        if tile_px is not None:
            say(f"{width} x {height} px at once would need more memory than is free: tiles of {tile_px} px")
        try:
            return enhance(generator, image, tile_px=tile_px, official=official, done=done)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        tile_px = (max(height, width) if tile_px is None else tile_px) // 2
        if tile_px < SMALLEST_TILE_PX:
            raise DataError("there is not enough memory, even for small tiles; free some, or use --device cpu")


def _fitting_tile_px(generator: Generator, height: int, width: int) -> int | None:
    """Return the side of the largest tiles that the free memory allows; None if it allows the whole."""
    allowed = tiles.affordable_px(generator, _device(generator))
    if height * width <= allowed:
        return None
    side = int(allowed**0.5) - 2 * tiles.margin_px(generator.settings.depth)
    return max(SMALLEST_TILE_PX, side // generator.stride * generator.stride)


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python lacked memory: torch's allocator for the CPU raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def _device(generator: Generator) -> torch.device:
    return next(generator.parameters()).device


def _output(generator: Generator, image: Pixels, *, tile_px: int | None, official: bool, done: Advance) -> Tensor:
    """Return the generator's output, (3, H, W), unbounded; of tiles on the CPU."""
    place = _device(generator) if tile_px is None else torch.device("cpu")
    pixels = torch.tensor(image, device=place).permute(2, 0, 1).unsqueeze(0)  # a view: channels last
    # In the official order of operations: where decimals are cut off, the last bit decides.
    scaled = (pixels.float() / 255 - 0.5) / 0.5 if official else pixels.float() / 127.5 - 1
    halved = official and image.shape[1] > OFFICIAL_WIDTH_PX
    if halved:
        scaled = functional.avg_pool2d(scaled, 2)
    if tile_px is not None:
        output = tiles.enhanced(generator, scaled, tile_px, done=done)
    elif min(scaled.shape[2:]) < generator.stride:  # too small for the generator's own padding
        padded, inner = tiles.padded(scaled, generator.stride)
        output = inner.of(generator(padded))
    else:
        output = generator(scaled)
    if halved:
        output = functional.interpolate(output, scale_factor=2, mode="bilinear", align_corners=True)
    result: Tensor = output[0]
    return result


@dataclass(frozen=True)
class _Job:
    """A picture to be enhanced, and the files to be written."""

    source: Path
    target: Path
    compare: Path | None

    def targets(self) -> list[Path]:
        return [self.target] if self.compare is None else [self.target, self.compare]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    arguments = _parser().parse_args(argv)
    console = command.output()
    try:
        device = command.device_named(arguments.device)
        jobs = _jobs(arguments)
        generator = weights.load(arguments.weights, device)
        if arguments.tile:
            tiles.require_tileable(generator)
    except TrainError as error:
        console.print(str(error))
        return 2
    return _run(jobs, generator, arguments, console)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trials.enhance", description="Enhance pictures with a generator.")
    add = parser.add_argument
    add("weights", type=Path, metavar="WEIGHTS", help="*_net_G_A.pth, or generator.pt or checkpoint-STEP.pt")
    add("images", type=Path, nargs="+", metavar="IMAGE", help="pictures, and folders of pictures")
    add("--out", type=Path, required=True, metavar="DIR", help="where PNG files of the same names are written")
    add("--compare", action="store_true", help="write before and after side by side too, in DIR/compare")
    add("--official", action="store_true", help="do as the official code: cut decimals off; halve beyond 2200 px width")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--force", action="store_true", help="overwrite results that exist (never a picture given)")
    existing.add_argument("--skip-existing", action="store_true", help="leave out the pictures whose results exist")
    add("--tile", type=_tile, metavar="PX", help="tiles of this side; 0 for none (default: if memory is short)")
    add("--device", metavar="NAME", help="cpu, cuda or cuda:N (default: the GPU if there is one)")
    return parser


def _tile(text: str) -> int:
    if not text.isdecimal() or 0 < int(text) < SMALLEST_TILE_PX:
        raise argparse.ArgumentTypeError(f"expected 0, or {SMALLEST_TILE_PX} pixels or more, got {text!r}")
    return int(text)


def _jobs(arguments: argparse.Namespace) -> list[_Job]:
    """Return what is to be done, in the order of the arguments.

    Raises:
        DataError: if a picture is missing, two would become one file, or a file would be overwritten.
    """
    sources = list(dict.fromkeys(source for given in arguments.images for source in _sources(given)))
    out = arguments.out
    if out.exists() and not out.is_dir():
        raise DataError(f"--out {out}: expected a folder, but it is a file")
    jobs = [
        _Job(path, out / f"{path.stem}.png", out / "compare" / f"{path.stem}.png" if arguments.compare else None)
        for path in sources
    ]
    _require_own_targets(jobs)
    if arguments.skip_existing:
        return [job for job in jobs if not all(path.exists() for path in job.targets())]
    existing = [str(path) for job in jobs for path in job.targets() if path.exists()]
    if existing and not arguments.force:
        verb = "exists" if len(existing) == 1 else "exist"
        raise DataError(
            f"{listed(existing)} {verb} already: --force overwrites, --skip-existing leaves out what is done, or "
            "choose another --out"
        )
    return jobs


def _sources(given: Path) -> list[Path]:
    if given.is_dir():
        return images.find(given)
    if not given.exists():
        raise DataError(f"{given}: expected a picture or a folder of pictures, but it does not exist")
    return [given]


def _require_own_targets(jobs: list[_Job]) -> None:
    given = {job.source.resolve() for job in jobs}
    overwritten = [str(path) for job in jobs for path in job.targets() if path.resolve() in given]
    if overwritten:
        raise DataError(f"{listed(overwritten)}: a picture given would be overwritten; choose another --out")
    sources = defaultdict(list)
    for job in jobs:
        sources[job.target].append(str(job.source))
    for target, shared in sources.items():
        if len(shared) > 1:
            raise DataError(f"{listed(shared)} would all become {target}; enhance them into folders of their own")


def _run(jobs: list[_Job], generator: Generator, arguments: argparse.Namespace, console: Console) -> int:
    failed: list[str] = []
    began, tried = time.monotonic(), 0
    try:
        with command.bar(console, len(jobs)) as begin:
            for job in jobs:
                try:
                    _enhance_file(job, generator, arguments, console, done=begin(job.source.name, tried))
                except (TrainError, OSError) as error:
                    failed.append(_told(job, error))
                    console.print(failed[-1])
                tried += 1
    except KeyboardInterrupt:
        console.print(f"interrupted: {tried} of {len(jobs)} pictures are done; --skip-existing goes on from there")
        return 130
    count, seconds = len(jobs) - len(failed), time.monotonic() - began
    console.print(f"{count} of {len(jobs)} pictures enhanced in {seconds:.1f} s: {arguments.out}")
    return 1 if failed else 0


def _told(job: _Job, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{job.target}: the file cannot be written ({error.strerror or error})"
    said = str(error)
    return said if said.startswith(str(job.source)) else f"{job.source}: {said}"


def _enhance_file(
    job: _Job, generator: Generator, arguments: argparse.Namespace, console: Console, *, done: Advance
) -> None:
    before = images.read(job.source)
    if arguments.tile is None:
        after = enhance_in_memory(
            generator,
            before,
            official=arguments.official,
            done=done,
            say=lambda text: console.print(f"{job.source}: {text}"),
        )
    else:
        after = enhance(generator, before, tile_px=arguments.tile or None, official=arguments.official, done=done)
    images.write(job.target, after)
    if job.compare is not None:
        height, width = after.shape[:2]  # the official way loses a pixel of an odd size
        images.write(job.compare, np.hstack([before[:height, :width], after]))


if __name__ == "__main__":
    sys.exit(main())
