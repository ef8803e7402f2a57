"""What the platform adds to a trial, with a trainer that does nothing, two trials at a time; beside bare Ray Tune.

    python benchmarks/overhead.py [--quick]

Each row is a process of its own. `start` is from the process's beginning to its first trial, `per trial` from there
to the end of the last one, divided by their number. The platform runs with its ledger and its MLflow mirror (a fresh
SQLite store); `mirror behind` is how long the mirror goes on after the last trial, `mirror alone` what a mirror takes
from nothing, its start and the store's making included. The rate of the mirror is the marginal one of these.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from platform.ledger import Ledger

ROOT = Path(__file__).resolve().parent.parent
AT_A_TIME = 2


def run_study(trials: int, folder: Path, *, tracking: dict[str, str] | None = None) -> tuple[Ledger, float]:
    """Run a study of so many trials with its mirror; return its ledger and when the mirror ended, seconds since 1970.

    Args:
        trials: their number, each one step long.
        folder: where results go: the study is `folder`/null.
        tracking: the spec's section, if not the default store `folder`/mlflow.db.
    """
    from rich.console import Console

    from benchmarks import null_trainer
    from platform import tune_run
    from platform.design import variants
    from platform.job import Job
    from platform.ledger import Ledger
    from platform.mirror_process import MirrorProcess
    from platform.plan import cells
    from platform.record import record
    from platform.spec import Spec, Study

    told = {"study": "null", "seeds": trials, **({"tracking": tracking} if tracking else {})}
    spec = Spec.model_validate(told).model_copy(update={"trainer": null_trainer.__name__})
    study = Study(spec, null_trainer, null_trainer.Config(), null_trainer.Data())  # type: ignore[arg-type]
    ledger, planned = Ledger(folder / "null"), cells(study, "0" * 32)
    facts = {"name": "null", "trainer": spec.trainer, "storage": str(folder / "null"), "digest": "0" * 32}
    ledger.put({**facts, "data": null_trainer.provenance(study.data), "metrics": []})
    ledger.accept(study.resolved(), variants(spec), planned, now=time.time())
    ledger.begin_driver(record(ROOT, sys.argv), time.time())
    with MirrorProcess(ledger.folder, follow=True, console=Console(stderr=True)) as mirror:
        with tune_run.cluster(None):
            if not tune_run.run(Job(study, planned, ledger, ledger.folder, lambda: AT_A_TIME)):
                raise SystemExit("interrupted")
        ledger.end_driver(time.time())
        if mirror.process:
            mirror.process.wait()
    return ledger, time.time()


def platform_row(trials: int, folder: Path, begun: float) -> dict[str, float]:
    """Run a study of so many trials and return its figures, in seconds."""
    ledger, copied = run_study(trials, folder)
    first, last = ledger.db.execute("SELECT min(started), max(ended) FROM attempt").fetchone()
    again = [sys.executable, "-m", "platform.mirror", str(ledger.folder), "--uri", f"sqlite:///{folder / 'again.db'}"]
    subprocess.run(again, cwd=ROOT, check=True)
    alone = time.time() - copied
    return {"start_s": first - begun, "trial_s": (last - first) / trials, "behind_s": copied - last, "alone_s": alone}


def tune_row(trials: int, folder: Path, begun: float, *, reuse: bool) -> dict[str, float]:
    """Run bare Tune, its own loggers off as well, and return its figures, in seconds."""
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    import ray
    from ray import tune

    def nothing(config: dict[str, Any]) -> None:
        tune.report({"value": config["x"], "begun": time.time()})

    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="error")
    tuner = tune.Tuner(
        tune.with_resources(nothing, {"cpu": 1}),
        param_space={"x": tune.grid_search(list(range(trials)))},
        tune_config=tune.TuneConfig(reuse_actors=reuse, max_concurrent_trials=AT_A_TIME),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    )
    results = tuner.fit()
    ended = time.time()
    first = min(result.metrics["begun"] for result in results if result.metrics)
    ray.shutdown()
    return {"start_s": first - begun, "trial_s": (ended - first) / trials}


def measured(kind: str, trials: int) -> dict[str, float]:
    """Run one row in a process of its own."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="o") as folder:
        environment = {**os.environ, "RAY_TMPDIR": folder, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, __file__, "--row", kind, str(trials), folder, str(time.time())]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{kind}: {done.stderr[-2000:]}")
        figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return figures


def row(kind: str, trials: int, folder: Path, begun: float) -> dict[str, float]:
    """Measure one row in this process."""
    if kind == "platform":
        return platform_row(trials, folder, begun)
    return tune_row(trials, folder, begun, reuse=kind == "tune, workers reused")


def main() -> None:
    """Measure every row, print a table, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer trials, under a minute")
    parser.add_argument("--row", nargs=4, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.row:
        kind, trials, folder, begun = chosen.row
        print(json.dumps(row(kind, int(trials), Path(folder), float(begun))))
        return
    few, many, slow = (10, 50, 4) if chosen.quick else (50, 500, 20)
    plan = [("platform", few), ("platform", many), ("tune, workers reused", many), ("tune, a worker each", slow)]
    found = {}
    print(f"{'':24}{'trials':>8}{'start s':>10}{'per trial s':>13}{'mirror behind s':>17}{'alone s':>9}")
    for kind, trials in plan:
        found[kind, trials] = one = measured(kind, trials)
        mirror = f"{one['behind_s']:17.2f}{one['alone_s']:9.2f}" if "alone_s" in one else ""
        print(f"{kind:24}{trials:8}{one['start_s']:10.2f}{one['trial_s']:13.4f}{mirror}", flush=True)
    ours, rival = found["platform", many], found["tune, workers reused", many]
    figures = {
        "name": "overhead",
        "rival": "Ray Tune with reused workers, loggers off",
        "ratio": round(ours["trial_s"] / rival["trial_s"], 3),
        **{key: round(value, 4) for key, value in ours.items()},
        "mirror_trials_per_s": round((many - few) / (ours["alone_s"] - found["platform", few]["alone_s"]), 1),
        "rival_trial_s": round(rival["trial_s"], 4),
        "worker_each_trial_s": round(found["tune, a worker each", slow]["trial_s"], 4),
        "trials": many,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
