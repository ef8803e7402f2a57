"""`python -m trials.train CONFIG`: train once, without a study, Ray or MLflow; the same command goes on.

CONFIG is a YAML file with `train` and `data`, such as a study's. In the folder DIR (`--out`) lie afterwards:

    config.yaml            the resolved settings
    metrics.jsonl          one line for each report; null where a metric has no value
    samples/step-*.png     input, output and reference of up to four images, at each evaluation
    checkpoint-*.pt        from which the same command goes on
    generator.pt, .json    the result, and pictures/ of the images that are scored

Exit status: 0 trained, or nothing to do; 1 the training broke down, or a file could not be written; 2 the settings or
the data cannot be used; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from trials import command, config_file, samples, trainer
from trials.config_file import ConfigError, Settings
from trials.progress import DataError, DivergedError, Report, TrainError
from trials.train import train
from trials.trainer import METRICS

__all__ = ["main"]

HEADLINE = METRICS[:3]
"""The metrics of the line that is printed at each evaluation, where they could be measured."""
BAR_LOSSES = ("generator", "d_global")
"""The losses beside the bar of progress, which has to fit into 80 columns."""


@dataclass
class _Run:
    """One training in its folder; `done` and `begun_at` are steps."""

    settings: Settings
    seed: int
    folder: Path
    digest: str
    console: Console
    resume: Path | None = None
    begun_at: int = 0
    done: int = 0
    kept: int = 0
    began_s: float = field(default_factory=time.monotonic)

    @property
    def steps(self) -> int:
        return self.settings.config.steps

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(given)
    console = command.output()
    again = shlex.join(["python", "-m", "trials.train", *given])
    run: _Run | None = None
    try:
        if arguments.threads:
            torch.set_num_threads(arguments.threads)
        run = _prepared(arguments, console)
        _train(run)
    except DivergedError as error:
        console.print(f"the training broke down: {error}\nits curves: {arguments.out or (run and run.folder)}")
        return 1
    except (ConfigError, DataError) as error:
        console.print(str(error))
        return 2
    except TrainError as error:  # of a folder that holds another training
        console.print(f"{error}, in another --out")
        return 2
    except OSError as error:
        console.print(f"{error.filename or 'a file'}: cannot be written ({error.strerror or error}); to go on: {again}")
        return 1
    except KeyboardInterrupt:
        kept = f" at step {run.done}; what was done until step {run.kept} is kept" if run else ""
        console.print(f"interrupted{kept}. To go on: {again}")
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trials.train",
        description="Train once. The same command goes on with a training that was interrupted.",
    )
    add = parser.add_argument
    add("config", type=Path, metavar="CONFIG", help="a YAML file with `train` and `data`, such as a study's")
    add("--seed", type=int, default=1, metavar="N", help="from which every random number follows (default: 1)")
    add("--out", type=Path, metavar="DIR", help="the training's folder (default: runs/NAME-seedN)")
    add("--set", action="append", default=[], metavar="PATH=VALUE", help="override a setting of train or data")
    add("--threads", type=_positive, metavar="N", help="threads on the CPU; results are equal for equal numbers")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number, 1 or more, got {text!r}")
    return int(text)


def _prepared(arguments: argparse.Namespace, console: Console) -> _Run:
    """Read and check what is asked for, and find where its folder stands.

    Raises:
        TrainError: if the settings or the data cannot be used, or the images are not those of the training begun here.
    """
    settings = config_file.read(arguments.config, arguments.set)
    if settings.ignored:
        console.print(f"{arguments.config}: not used by one training: {', '.join(settings.ignored)}")
    problems = trainer.check(settings.config, settings.data)
    if problems:
        raise ConfigError(arguments.config, problems)
    folder = arguments.out or Path("runs") / f"{arguments.config.stem}-seed{arguments.seed}"
    run = _Run(settings, arguments.seed, folder, trainer.digest(settings.data), console)
    run.begun_at = run.done = run.kept = _last_kept(run)
    if run.begun_at:
        run.resume = folder / f"checkpoint-{run.begun_at}.pt"
        _require_same_images(run)
    return run


def _last_kept(run: _Run) -> int:
    """Return the last step that has both a checkpoint and its line of metrics; 0 if there is none.

    A checkpoint is written before its line, and the one before it is deleted after: so one always has both.
    """
    steps = [row["step"] for row in _rows(run.metrics) if row["checkpoint"]]
    return max((step for step in steps if (run.folder / f"checkpoint-{step}.pt").is_file()), default=0)


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics; a last one that was not written whole is left out."""
    if not path.is_file():
        return []
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if isinstance(row, dict) and {"step", "checkpoint"} <= row.keys():
            rows.append(row)
        elif line.endswith("}"):
            raise TrainError(f"{path}: line {number} is no report of a training; correct it, or train anew")
    return rows


def _require_same_images(run: _Run) -> None:
    path = run.folder / "config.yaml"
    try:
        recorded = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (YAMLError, UnicodeDecodeError):
        recorded = None
    if not isinstance(recorded, dict):
        raise TrainError(f"{path}: not the settings that this training wrote; restore the file, or start anew")
    if recorded.get("data_digest", run.digest) != run.digest:
        raise TrainError(f"{run.folder}: the images are not those that this training began with; start anew")


def _train(run: _Run) -> None:
    """Train to the end, and write what each report tells.

    Raises:
        DivergedError: if the training breaks down.
    """
    if run.resume is None:
        _write_config(run)
    settings, shown = run.settings, samples.chosen(run.settings.data)
    with _progress(run) as (progress, task):

        def tick(step: int) -> None:
            if run.done == run.begun_at:
                run.began_s = time.monotonic()  # the time left is no longer than steps and evaluations take
                if run.resume is not None:
                    run.console.print(f"{run.folder}: going on after step {run.begun_at} of {run.steps}")
            run.done = step
            progress.update(task, completed=step)

        reports = train(settings.config, settings.data, seed=run.seed, folder=run.folder, resume=run.resume, tick=tick)
        for report in reports:
            if report.checkpoint is not None:
                samples.write(run.folder, report, shown)
            _record(run, report)
            run.done, run.kept = report.step, report.step if report.checkpoint else run.kept
            progress.update(task, completed=report.step, losses=_losses(report, BAR_LOSSES))
            if report.checkpoint is not None:  # else the training breaks down, which is said at its end
                run.console.print(_line(run, report))
            for event in report.events:
                run.console.print(f"  {event.text}")
    if run.done == run.begun_at:
        run.console.print(f"{run.folder}: nothing to do, all {run.steps} steps are done")
    else:
        run.console.print(f"{run.folder}: trained; the generator is {run.folder / 'generator.pt'}")


def _write_config(run: _Run) -> None:
    """Write the resolved settings, from which the training could be begun again."""
    settings = {
        "train": run.settings.config.model_dump(mode="json", by_alias=True),
        "data": run.settings.data.model_dump(mode="json"),
        "seed": run.seed,
        "data_digest": run.digest,
    }
    run.folder.mkdir(parents=True, exist_ok=True)
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.width = 10_000  # a value stays on its line
    with (run.folder / "config.yaml").open("w", encoding="utf-8") as file:
        writer.dump(settings, file)


def _record(run: _Run, report: Report) -> None:
    """Append a report to the metrics; the first one of a run replaces the lines past the checkpoint."""
    images = [{"set": one.set, "image": one.image} | _finite(one.metrics) for one in report.images]
    events = [asdict(event) | _finite({"value": event.value}) for event in report.events]
    kept = {"checkpoint": report.checkpoint and str(report.checkpoint), "images": images, "events": events}
    row = {"step": report.step} | _finite(report.metrics) | kept
    line = f"{json.dumps(row, allow_nan=False)}\n"
    if run.kept > run.begun_at:
        with run.metrics.open("a", encoding="utf-8") as file:
            _write_lines(file, [line])
        return
    earlier = [
        f"{json.dumps(one)}\n" for one in _rows(run.metrics) if one["checkpoint"] and one["step"] <= run.begun_at
    ]
    aside = run.metrics.with_name(f"{run.metrics.name}.part")
    with aside.open("w", encoding="utf-8") as file:
        _write_lines(file, [*earlier, line])
    os.replace(aside, run.metrics)


def _write_lines(file: TextIO, lines: list[str]) -> None:
    """Write lines onto the disk, not into a cache: the checkpoint before the last is deleted next."""
    file.writelines(lines)
    file.flush()
    os.fsync(file.fileno())


def _finite(metrics: dict[str, float]) -> dict[str, float | None]:
    return {key: value if math.isfinite(value) else None for key, value in metrics.items()}


@contextmanager
def _progress(run: _Run) -> Iterator[tuple[Progress, Any]]:
    """Show the steps, the time left and the last losses in a terminal, until the block ends."""
    columns = (
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(bar_width=16),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}", markup=False),
    )
    with Progress(*columns, console=run.console, transient=True, disable=not run.console.is_terminal) as progress:
        yield progress, progress.add_task("", total=run.steps, completed=run.begun_at, losses="")


def _losses(report: Report, only: Sequence[str] = ()) -> str:
    losses = {key.removeprefix("loss/"): value for key, value in report.metrics.items() if key.startswith("loss/")}
    return "  ".join(f"{name} {value:.3f}" for name, value in losses.items() if not only or name in only)


def _line(run: _Run, report: Report) -> str:
    """Return a report as a line: its step, the main metrics, the losses, the time left."""
    metrics = [
        f"{metric.title} {report.metrics[metric.key]:.3f}" for metric in HEADLINE if metric.key in report.metrics
    ]
    elapsed, trained = time.monotonic() - run.began_s, report.step - run.begun_at
    left = f"about {_clock(elapsed / max(1, trained) * (run.steps - report.step))} left"
    parts = [f"step {report.step}/{run.steps}", *metrics, f"loss: {_losses(report)}", left]
    return " · ".join(parts[:-1] if report.step == run.steps else parts)


def _clock(seconds: float) -> str:
    """Return a duration as people say it: `8 s`, `3 min`, `2 h 05 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{round(seconds)} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


if __name__ == "__main__":
    sys.exit(main())
