"""Studies with a search over made-up learning curves, simulated, and what their ledgers say."""

import json
import math
import sqlite3
from pathlib import Path

import yaml

from platform.simulation import simulate
from platform.spec_file import read

SPEC = {
    "study": "searched",
    "train": {
        "steps": 100, "evaluate_every": 10, "batch": 2, "crop_px": 48, "generator": {"width": 8},
        "local": {"patches": 2, "patch_px": 32}, "loss": {"sfp_global": 0.3, "sfp_local": 0.3},
        "vgg": {"weights": "random", "layer": "relu1_1"},
    },
    "components": {
        "attention": {"generator.attention": "none"},
        "local_discriminator": {"local.discriminator": False},
    },
    "seeds": 2,
    "search": {
        "trials": 9,
        "space": {
            "loss.sfp_global": {"float": [0.03, 3], "log": True},
            "loss.sfp_local": {"float": [0.03, 3], "log": True},
            "local.patches": {"int": [1, 4]},
        },
    },
    "confirm": {"seeds": 3},
    "analysis": {"at": 2},
}  # fmt: skip


def study(folder, *settings, search=None, **sections):
    """Return the checked spec above, with other sections, other keys of `search`, and `path=value` settings."""
    spec = {**SPEC, **sections, "search": {**SPEC["search"], **(search or {})}}
    spec = {key: value for key, value in spec.items() if value is not None}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return read(path, settings)


def psnr(settings, seed):
    """Return the PSNR that a training of these settings ends at: best at weights of 0.5 and 3 patches."""
    weights, local = settings["loss"], settings["local"]
    distance = math.log(weights["sfp_global"] / 0.5) ** 2 + math.log((weights["sfp_local"] or 0.01) / 0.5) ** 2
    return 20 - distance - 0.5 * (local["patches"] - 3) ** 2 + 0.2 * math.sin(7 * seed)


def curve(settings, seed):
    """Return a curve that rises to `psnr`, and a NIQE that falls with fewer patches."""
    best, steps = psnr(settings, seed), range(settings["evaluate_every"], settings["steps"] + 1, 10)
    niqe = 4 + 0.3 * settings["local"]["patches"]
    return {step: {"eval/psnr_db": best - 8 * math.exp(-step / 25), "eval/niqe": niqe} for step in steps}


def run(found, folder, **options):
    """Simulate a study; return its folder."""
    options.setdefault("curve", curve)
    simulate(found, folder, options.pop("curve"), **options)
    return folder


def rows(folder, query, *values):
    db = sqlite3.connect(Path(folder) / "ledger.db")
    try:
        return db.execute(query, values).fetchall()
    finally:
        db.close()


def suggestions(folder, variant="baseline", repeat=0):
    """Return the settings that a search tried, in their order."""
    query = "SELECT params FROM suggestion WHERE variant = ? AND repeat = ? AND left_out IS NULL ORDER BY number"
    return [json.loads(params) for (params,) in rows(folder, query, variant, repeat)]


def states(folder, stage="search"):
    """Return how many cells of each variant are in each state: (variant, state) -> number."""
    query = "SELECT variant, state, count(*) FROM cell JOIN trial ON trial.number = cell.trial WHERE stage = ?"
    return {(variant, state): count for variant, state, count in rows(folder, f"{query} GROUP BY 1, 2", stage)}


def everything(folder):
    """Return all of a ledger that must be the same for an undisturbed study and one that was killed; no times."""
    queries = {
        "suggestion": "SELECT variant, repeat, number, params, trial, same_as, refused, left_out FROM suggestion",
        "choice": "SELECT variant, repeat, number, why FROM choice",
        "decision": "SELECT id, rung, what FROM decision JOIN trial ON trial.number = decision.trial",
        "cell": "SELECT stage, variant, repeat, cell.number, cell.seed, id, state FROM cell "
        "JOIN trial ON trial.number = cell.trial",
        "report": "SELECT id, step, metric, value FROM report JOIN trial ON trial.number = report.trial",
    }
    return {name: sorted(rows(folder, query), key=repr) for name, query in queries.items()}
