"""What the runs say of a search: suggestions, what was chosen, what confirms it."""

import json
import math

import pandas as pd

from analysis.schema import STOPPED
from tests.platform.mirrored import (
    SETTINGS,
    artifact,
    client,
    contents,
    copied,
    follower,
    points,
    progress,
    results,
    runs,
    study,
    wait_for,
)

__all__ = ["client", "results", "study"]  # fixtures

WIDTH, SFP = "generator.width", "sfp"


def tuned(width):
    return {**SETTINGS, "generator": {"width": width, "attention": "none"}, SFP: 0.5}


def search(study, *, repeats=1, budget=None, sets=(), objectives=None):
    """Make this a study that searches: one fixed trial, and a search of `baseline` with two suggestions."""
    facts = {
        "search": {
            "objectives": objectives or {"eval/psnr_db": "max"}, "sampler": "tpe", "scheduler": "none",
            "repeats": repeats, "seeds": [1], "first_points": 2, "budget": budget or {"trials": 3},
            "parameters": {"baseline": [WIDTH, SFP]}, "left_out": {}, "cautions": [], "ended": {},
        },
        "confirm": {"seeds": [4, 5], "sets": list(sets), "digest": "e" * 40},
        "expected": {"fixed": 1, "search": 3, "confirm": 2},
    }  # fmt: skip
    study.add("study", *([key, json.dumps(value)] for key, value in facts.items()))
    spec = {"study": study.name, "analysis": {"primary": "eval/psnr_db", "at": 1}}
    study.do("UPDATE spec SET resolved = ?", json.dumps(spec))
    study.add("variant", ["baseline", 0, None, None, None, "{}"])
    study.trial(1)
    study.trial(2, stage="search", place=(0, 0), settings=tuned(16))
    study.trial(3, STOPPED, stage="search", place=(0, 1), steps=(10,), settings=tuned(4))
    study.add("decision", [3, 5, "continue", study.begun + 305], [3, 10, "stop", study.begun + 310])
    suggest(study, 0, 2, {WIDTH: 16, SFP: 0.5})
    suggest(study, 1, 3, {WIDTH: 4})  # under it the other setting plays no part


def suggest(study, number, trial, params, *, repeat=0, left_out=None):
    identity = f"{trial:032x}"
    study.add("suggestion", ["baseline", repeat, number, 0.0, json.dumps(params), identity, None, None, left_out])


def tags(run, *keys):
    return {key: run.data.tags.get(key) for key in keys}


def test_a_trial_of_a_search_is_named_by_its_suggestion_and_holds_the_searched_values_as_parameters(study, client):
    search(study)
    copied(study)
    _, children = runs(client, study)
    assert [run.info.run_name for _, run in sorted(children.items())] == [
        "baseline · seed 1", "baseline · search 0 · seed 1", "baseline · search 1 · seed 1",
    ]  # fmt: skip
    searched = [
        {key: value for key, value in run.data.params.items() if key.startswith("search/")}
        for _, run in sorted(children.items())
    ]
    assert searched == [{}, {"search/generator.width": "16", "search/sfp": "0.5"}, {"search/generator.width": "4"}]
    assert children[2].data.params["generator.width"] == "16"
    assert tags(children[2], "stage", "suggestion", "rung", "chosen") == {
        "stage": "search", "suggestion": "0", "rung": None, "chosen": None,
    }  # fmt: skip
    assert tags(children[3], "state", "suggestion", "rung") == {"state": "STOPPED", "suggestion": "1", "rung": "10"}
    assert children[3].info.status == "FINISHED"
    assert "suggestion" not in children[1].data.tags


def test_a_trial_that_fills_several_places_has_the_name_of_its_first_stage_and_tags_for_all(study, client):
    search(study)
    study.add("cell", ["search", "baseline", 0, 2, 1, 1], ["search", "baseline", 0, 3, 1, 1])
    suggest(study, 2, 1, {WIDTH: 8})
    copied(study)
    run = runs(client, study)[1][1]
    assert run.info.run_name == "baseline · seed 1"
    assert tags(run, "stage", "suggestion") == {"stage": "fixed, search", "suggestion": "2, 3"}
    assert run.data.params["search/generator.width"] == "8"


def test_a_place_in_the_search_that_is_found_later_reaches_a_run_that_is_there_already(study, client):
    study.drive()
    study.trial(1)
    following = follower(study)
    wait_for(lambda: progress(study)["copied"] == 1, 60)
    search(study)
    study.add("cell", ["search", "baseline", 0, 2, 1, 1])
    suggest(study, 2, 1, {WIDTH: 8})
    wait_for(lambda: runs(client, study)[1][1].data.tags["stage"] == "fixed, search", 30)  # while the driver runs
    assert runs(client, study)[1][1].data.params["search/generator.width"] == "8"
    study.end()
    assert following.wait(60) == 0, following.stderr.read()


def test_equal_trainings_suggested_with_other_idle_settings_are_one_run(study, client):
    search(study)
    study.add("cell", ["search", "baseline", 0, 2, 1, 2])
    suggest(study, 2, 2, {WIDTH: 99, SFP: 0.5})  # the same trial: what it has counts, and never changes
    copied(study)
    run = runs(client, study)[1][2]
    assert run.data.params["search/generator.width"] == "16"
    assert tags(run, "suggestion") == {"suggestion": "0, 2"}


def test_confirming_trials_have_their_name_their_images_and_what_they_confirm(study, client):
    search(study, sets=["SICE"])
    study.add("choice", ["baseline", 0, 0, "highest eval/psnr_db of 1", 0.0])
    study.trial(4, stage="confirm", seed=4, settings=tuned(16), data="e" * 40)
    study.add("image", *([4, 20, "SICE", name, "eval/psnr_db", value] for name, value in (("dog", 7.0), ("hen", 8.0))))
    copied(study)
    parent, children = runs(client, study)
    run = children[4]
    apart = {key: value for key, value in run.data.metrics.items() if key.partition("/")[0] in ("night", "SICE")}
    assert apart == {"SICE/eval/psnr_db": 7.5, "night/eval/psnr_db": 10.0}
    assert points(client, run, "SICE/eval/psnr_db")[0][0] == 20
    assert run.data.metrics["eval/psnr_db"] == 10.0  # as reported
    assert run.data.tags["scored_on"].startswith(
        "night (seen by the search) and SICE (new): a plain metric is the mean"
    )
    assert not [key for key in children[2].data.metrics if key.startswith("night/")]
    assert "scored_on" not in children[2].data.tags
    assert parent.data.metrics["search/baseline/confirmed/eval/psnr_db"] == 7.5
    assert parent.data.tags["search/baseline/confirmed"] == "eval/psnr_db 7.5 (1 of 2 seeds, on SICE)"
    assert run.info.run_name == "baseline · confirm · seed 4"
    assert tags(run, "stage", "suggestion", "chosen") == {"stage": "confirm", "suggestion": "0", "chosen": None}
    assert run.data.params["search/generator.width"] == "16"
    (used,) = run.inputs.dataset_inputs
    assert used.dataset.digest == "e" * 36
    assert json.loads(used.dataset.profile)["confirm"] == ["SICE"]
    (used,) = children[2].inputs.dataset_inputs
    assert used.dataset.digest == "d" * 36
    assert "confirm" not in json.loads(used.dataset.profile)
    assert tags(children[2], "chosen") == {"chosen": "baseline"}
    assert tags(children[3], "chosen") == {"chosen": None}


def test_several_repeats_are_told_apart(study, client):
    search(study, repeats=2)
    study.trial(4, stage="search", place=(1, 0), settings=tuned(2))
    study.add("choice", ["baseline", 1, 0, "highest eval/psnr_db of 1", 0.0])
    study.trial(5, stage="confirm", place=(1, 0), seed=4, settings=tuned(2))
    copied(study)
    parent, children = runs(client, study)
    assert children[4].info.run_name == "baseline · search 0 · seed 1 · repeat 1"
    assert children[5].info.run_name == "baseline · confirm · seed 4 · repeat 1"
    assert tags(children[4], "repeat", "chosen") == {"repeat": "1", "chosen": "baseline"}
    assert tags(children[2], "repeat", "chosen") == {"repeat": "0", "chosen": None}
    assert parent.data.tags["search/baseline/confirmed"] == "repeat 1: eval/psnr_db 10 (1 of 2 seeds)"


def test_the_studys_run_follows_the_search_to_what_was_promised_and_confirmed(study, client, results):
    study.drive()
    search(study)
    copied(study)
    parent, _ = runs(client, study)
    prefix = "search/baseline/"
    told = {key.removeprefix(prefix): value for key, value in parent.data.tags.items() if key.startswith(prefix)}
    assert told == {"spent": "2 of 3 trials", "stopped": "1", "best": "eval/psnr_db 10"}

    study.add("choice", ["baseline", 0, 0, "highest eval/psnr_db of 1", 0.0])
    study.trial(4, stage="confirm", seed=4, settings=tuned(16))
    copied(study)
    parent, children = runs(client, study)
    told = {key.removeprefix(prefix): value for key, value in parent.data.tags.items() if key.startswith(prefix)}
    assert told == {
        "spent": "2 of 3 trials", "stopped": "1", "best": "eval/psnr_db 10",
        "chosen": "0: generator.width 16, sfp 0.5 (highest eval/psnr_db of 1)",
        "promised": "eval/psnr_db 10", "confirmed": "eval/psnr_db 10 (1 of 2 seeds)",
    }  # fmt: skip
    assert children[2].data.tags["chosen"] == "baseline"
    assert parent.data.metrics == {
        f"{prefix}{what}/eval/psnr_db": 10.0 for what in ("untuned", "promised", "confirmed")
    }
    study.end()
    copied(study)
    assert runs(client, study)[0].info.status == "KILLED"  # a seed is still to be confirmed
    study.trial(5, stage="confirm", seed=5, settings=tuned(16))
    copied(study)
    parent, _ = runs(client, study)
    assert parent.info.status == "FINISHED"
    before = contents(results)
    copied(study)
    assert contents(results) == before

    study.do("DELETE FROM choice")  # the spec was changed: the search goes on
    study.do("DELETE FROM cell WHERE stage = 'confirm'")
    copied(study)
    parent, children = runs(client, study)
    assert not {f"{prefix}chosen", f"{prefix}promised", f"{prefix}confirmed"} & parent.data.tags.keys()
    assert "chosen" not in children[2].data.tags
    assert parent.info.status == "KILLED"
    values = {key.removeprefix(prefix): value for key, value in parent.data.metrics.items()}
    assert values["untuned/eval/psnr_db"] == 10.0
    assert math.isnan(values["promised/eval/psnr_db"])  # MLflow forgets no metric
    assert math.isnan(values["confirmed/eval/psnr_db"])
    before = contents(results)
    copied(study)
    assert contents(results) == before


def test_of_several_objectives_the_studys_run_has_the_front(study, client):
    search(study, objectives={"eval/psnr_db": "max", "eval/niqe": "min"})
    study.do("UPDATE report SET value = 4.5 WHERE metric = 'eval/niqe'")
    study.add("choice", ["baseline", 0, None, "none of 1 candidate has eval/niqe <= 4", 0.0])
    copied(study)
    told = runs(client, study)[0].data.tags
    assert told["search/baseline/best"] == "eval/psnr_db 10, eval/niqe 4.5 (front of 1)"
    assert told["search/baseline/chosen"] == "nothing, none of 1 candidate has eval/niqe <= 4"


def test_a_suggestion_that_is_no_point_of_the_search_any_more_is_marked(study, client):
    search(study)
    study.do("DELETE FROM cell WHERE trial = 2")
    suggest(study, 0, 2, {WIDTH: 16, SFP: 0.5}, left_out="generator.width was 16, which is not in the space any more")
    copied(study)
    run = runs(client, study)[1][2]
    assert tags(run, "stage", "left_out") == {
        "stage": "unplanned", "left_out": "generator.width was 16, which is not in the space any more",
    }  # fmt: skip


def test_a_search_can_be_read_back_whole_from_the_server(study, client):
    search(study)
    study.add("choice", ["baseline", 0, 0, "highest eval/psnr_db of 1", 0.0])
    copied(study)
    parent, _ = runs(client, study)
    for table in ("cell", "suggestion", "choice", "decision", "study"):
        rows = study.db.execute(f"SELECT * FROM {table}").fetchall()
        found = pd.read_parquet(artifact(client, parent, f"ledger/{table}.parquet"))
        assert [tuple(None if pd.isna(value) else value for value in row) for row in found.itertuples(index=False)] \
            == rows, table  # fmt: skip
