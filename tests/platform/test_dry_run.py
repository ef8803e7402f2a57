"""What `--dry-run` and the start of a sweep say of a search, read as a user reads it."""

import re
import sqlite3
from io import StringIO

import pytest
from rich.console import Console

from analysis.factorial import full, orders, orders_seed, runs_of_orders, spreads
from analysis.ledger import open_ledger
from analysis.outlook import reach, reached
from analysis.schema import CONFIRM, SCHEMA, SEARCH, VERSION
from analysis.tables import read, verdict_table
from platform import dry_run
from platform.dry_run import at_most, design_plan, search_plan
from platform.outlook import declared, outlook
from platform.plan import cells
from tests.analysis.synthetic import LEAVE_ONE_OUT, Plan, write_study
from tests.platform.search_ledgers import SearchLedger
from tests.platform.specs import SMALL, study
from trials import trainer

SEARCHED = (
    SMALL
    + """\
search:
  trials: 9
  objectives: {eval/psnr_db: max, eval/niqe: min}
  space:
    loss.sfp_local: {float: [0.1, 10], log: true}
    generator.attention: {choice: [turned, none]}
    local.patches: {int: [1, 4], when: {generator.attention: turned}}
  scheduler: {asha: {first_rung: 10, reduction: 2}}
confirm: {seeds: 3}
"""
)


@pytest.fixture
def told(tmp_path):
    def told(*settings, text=SEARCHED):
        console = Console(file=StringIO(), width=200, soft_wrap=True)
        for part in search_plan(study(tmp_path, *settings, text=text)):
            console.print(part)
        return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]

    return told


def test_a_study_without_a_search_plans_none(told):
    assert told(text=SMALL) == []


def test_the_plan_tells_budget_sampler_objectives_stopping_choice_and_confirmation(told):
    lines = told()
    assert lines[:5] == [
        "search: 9 trials for every variant, every setting with seed 1; TPE, after 3 first points that all variants "
        "share; first of all the spec's own settings, where the space holds them",
        "objectives: eval/psnr_db (max), eval/niqe (min)",
        "early stopping: ASHA, by their front: at steps 10, 20 of 40 the best 1 of 2 go on",
        "choice: of each variant the knee of its front, the farthest from the line through its ends",
        "confirm: what each variant chose, seeds 2, 3, 4, on the images of the search",
    ]
    assert "loss.sfp_local a number from 0.1 to 10, log" in lines
    assert 'local.patches a whole number from 1 to 4 generator.attention is "turned"' in lines
    assert lines[-1].startswith("mind: confirm on the bundled photographs")


def test_each_variant_says_what_it_searches_and_what_it_leaves_out_and_why(told):
    lines = told()
    assert "baseline loss.sfp_local, generator.attention, local.patches" in lines
    (no_attention,) = [place for place, line in enumerate(lines) if line.startswith("no_attention ")]
    assert lines[no_attention] == 'no_attention loss.sfp_local generator.attention: the variant fixes it at "none"'
    assert lines[no_attention + 1] == (
        'local.patches: it exists when generator.attention is "turned", which is "none" here'
    )
    assert "no_local_sfp generator.attention, local.patches loss.sfp_local: the variant fixes it at 0" in lines


def test_a_variant_with_nothing_to_search_says_so(told):
    lines = told("search.space={loss.sfp_local: {float: [0.1, 10]}}")
    assert "no_local_sfp nothing: it is confirmed as it stands loss.sfp_local: the variant fixes it at 0" in lines
    assert any(line.startswith("mind: no_local_sfp has nothing to search") for line in lines)


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("search.scheduler=none", "early stopping: none, every trial runs to its end"),
        ("search.scheduler={median: {first_rung: 20}}", "early stopping: median, by their front: at every evaluation "
         "from step 20 on, once 3 others have got there"),
        ("search.scheduler={hyperband: {reduction: 2}}", "early stopping: Hyperband, by their front: at steps 10, 20 "
         "of 40 the best 1 of 2 go on, in 3 brackets"),
        ("search.choose={weights: {eval/psnr_db: 2, eval/niqe: 1}}", "choice: of each variant's front the least "
         "weighted sum of losses (eval/psnr_db x 2, eval/niqe x 1), each from 0 to 1 on the front"),
        ("search.choose={best: eval/psnr_db, where: {eval/niqe: <= 4}}", "choice: of each variant the best "
         "eval/psnr_db where eval/niqe <= 4"),
        ("search.objectives={eval/niqe: min}", "choice: of each variant the best eval/niqe"),
        ("search.total={trials: 20, hours: 2}", "all searches together: at most 20 trials, 2 hours"),
        ("search.patience=5", "they end early when none finds better in 5 suggestions"),
        ("confirm=null", "confirm: none"),
        ("search.repeats=2", "confirm: what each repeat chose, seeds 2, 3, 4, on the images of the search"),
    ],
)  # fmt: skip
def test_what_the_spec_asks_for_is_said(told, setting, line):
    assert line in told(setting)


def test_images_that_the_search_never_sees_are_named(told, tmp_path):
    data = "data={source: folders, low: a, normal: b, evaluate: {LOL: {low: c}}, confirm: {SICE: {low: d}}}"
    lines = told(data, "search.objectives={eval/niqe: min}", "analysis.primary=eval/niqe")
    assert "confirm: what each variant chose, seeds 2, 3, 4, on SICE, which the search never sees" in lines


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], (6, 9 + 9 + 5, 9)),  # no_local_sfp: attention `none`, or `turned` with 1 to 4 patches: 5 settings
        (["search.seeds=2"], (6, 8 + 8 + 8, 9)),  # 4 settings with two seeds each
        (["search.repeats=2"], (6, 2 * 23, 18)),
        (["search.total.trials=12"], (6, 12, 9)),
        (["search.trials=null", "search.steps=100"], (6, 2 + 2 + 2, 9)),  # of 40 steps each
        (["search.space={loss.sfp_local: {float: [0.1, 10]}}", "search.repeats=2"], (6, 4 * 9, 15)),
        (["confirm=null"], (6, 23, 0)),
    ],
)
def test_the_trials_of_each_stage_are_counted_at_most(tmp_path, settings, expected):
    assert tuple(at_most(study(tmp_path, *settings, text=SEARCHED)).values()) == expected


def test_trials_stopped_early_make_room_for_more_where_the_budget_is_in_steps(told):
    more = "; where trials are stopped early, the steps buy more of them"
    counted = told("search.trials=null", "search.steps=100")[-2]
    assert counted == f"at most 21 trials: 6 at the spec's settings, 6 of the search, 9 to confirm{more}"
    assert more not in told()[-2]


def shown(found, folder, monkeypatch):
    monkeypatch.setattr(trainer, "seconds", lambda config, data, *, threads: 10.0)
    monkeypatch.setattr(dry_run.os, "cpu_count", lambda: 2)
    console = Console(file=StringIO(), width=200)
    dry_run.show(found, cells(found, "d" * 32), folder, console)
    return console.file.getvalue()


def test_a_dry_run_bounds_the_time_by_trials_that_run_to_their_end(tmp_path, monkeypatch):
    text = shown(study(tmp_path, text=SEARCHED), tmp_path / "none", monkeypatch)
    assert "early stopping: ASHA" in text
    assert "6 trials (seeds 1, 2), 6 still to train\n" in text
    assert "of the search and its confirmation at most 32 still to train\n" in text
    # 38 trials of 10 s, two at a time
    assert "about 10 s here, so at most 3 min 10 s with 2 at a time, the search's not stopped early\n" in text


def test_a_dry_run_counts_what_the_ledger_has_already(tmp_path, monkeypatch):
    ledger = SearchLedger(tmp_path / "ledger.db")
    for number, state in enumerate(("COMPLETED", "STOPPED", "RUNNING")):
        ledger.trial("search", "baseline", state, number=number)
    text = shown(study(tmp_path, text=SEARCHED), tmp_path, monkeypatch)
    assert "at most 30 still to train" in text


def test_a_dry_run_without_a_search_speaks_of_none(tmp_path, monkeypatch):
    text = shown(study(tmp_path), tmp_path / "none", monkeypatch)
    assert "6 trials (seeds 1, 2), 6 still to train\na trial takes about 10 s here, so 30 s with 2 at a time\n" in text
    assert "search" not in text


def test_a_trial_that_needs_more_memory_than_there_is_leaves_the_time_open(tmp_path, monkeypatch):
    def lacking(config, data, *, threads):
        raise MemoryError("you tried to allocate 2000 GiB")

    found = study(tmp_path)
    monkeypatch.setattr(trainer, "seconds", lacking)
    console = Console(file=StringIO(), width=200)
    dry_run.show(found, cells(found, "d" * 32), tmp_path / "none", console)
    text = console.file.getvalue()
    assert "a trial needs more memory than there is here, so the time it takes is not known\n" in text
    assert "6 trials (seeds 1, 2), 6 still to train\n" in text


def test_settings_are_shown_as_they_are_written(tmp_path, monkeypatch):
    weights = "vgg[bold].pth"
    text = shown(study(tmp_path, f"components={{vgg: {{init: '{weights}'}}}}"), tmp_path / "none", monkeypatch)
    assert weights in text


COMPONENTS = "{a: {batch: 3}, b: {local.patches: 3}, c: {loss.sfp_local: 0}, d: {generator.width: 16}}"


def test_a_fraction_tells_its_generators_and_what_it_confuses(tmp_path):
    found = study(tmp_path, f"components={COMPONENTS}", "design={fractional: IV}")
    # by hand: the defining relation of d = abc is abcd, so every pair is an alias of the other two
    assert design_plan(found.spec) == [
        "fractional factorial of 4 components, resolution IV, 8 of 16 variants",
        "generators: d = a x b x c",
        "not told apart: a x b and c x d; a x c and b x d; a x d and b x c",
    ]


def test_a_factorial_shows_what_each_variant_changes(tmp_path, monkeypatch):
    text = shown(study(tmp_path, f"components={COMPONENTS}", "design=factorial"), tmp_path / "none", monkeypatch)
    assert "full factorial of 4 components, 16 variants\n" in text
    assert ["no_a+c", "baseline", "batch:", "3,", "loss.sfp_local:", "0"] in [
        line.split() for line in text.splitlines()
    ]


def test_screening_gives_no_verdicts(tmp_path):
    found = study(
        tmp_path, f"components={COMPONENTS}", "components.e={generator.attention: none}", "design={fractional: III}"
    )
    assert design_plan(found.spec)[-1].startswith("mind: at resolution III")


def test_a_dry_run_of_a_study_that_never_ran_tells_seeds_by_their_spread(tmp_path, monkeypatch):
    found = study(tmp_path, "analysis.matters={eval/psnr_db: 0.5}")
    lines = [" ".join(line.split()) for line in shown(found, tmp_path / "none", monkeypatch).splitlines()]
    # two comparisons, three variants, 10 s each, two at a time; at 1 sd the reference has 18 for one, 28 for five
    (row,) = [line for line in lines if line.startswith("PSNR, 0.5 dB, at an sd of 0.5 dB")]
    seeds, trainings, hours, wall = row.removeprefix("PSNR, 0.5 dB, at an sd of 0.5 dB 0 ").split()
    assert 18 < int(seeds) < 28
    assert int(trainings) == 3 * int(seeds)
    assert float(hours) == pytest.approx(int(trainings) / 360, rel=0.05)
    assert float(wall) == pytest.approx(int(trainings) / 720, rel=0.06)
    assert "nothing has been trained yet" in " ".join(lines)


def test_a_dry_run_tells_seeds_by_a_pilot_and_the_margins_of_now(tmp_path, monkeypatch):
    variants = [one for one in LEAVE_ONE_OUT if one.name in ("baseline", "no_attention", "no_local_sfp")]
    folder = write_study(tmp_path / "pilot", Plan(variants=variants, pictures=False, noise=0.5))
    found = study(tmp_path, "analysis.matters={eval/psnr_db: 0.25, eval/niqe: 0.1}", "seeds=3", "analysis.at=2")
    lines = [" ".join(line.split()) for line in shown(found, folder, monkeypatch).splitlines()]
    with open_ledger(folder) as ledger:
        table = verdict_table(read(ledger, "fixed"))
    spread = table.loc[table["role"] == "primary", "deviation"].max()
    low, high = reached({"deviation": spread, "seeds": 3}, 0.25, level=0.05 / 2)
    cells = f"{low.seeds:,} to {'more than ' if high.beyond else ''}{high.seeds:,}"
    more = f"{3 * (low.seeds - 3):,}"
    assert any(line.startswith(f"PSNR, 0.25 dB 3 {cells} {more} ") for line in lines)
    assert any(line.startswith("NIQE, 0.1 3 ") for line in lines)


def test_what_a_wider_margin_has_decided_is_open_at_the_margin_of_now(tmp_path, monkeypatch):
    variants = [one for one in LEAVE_ONE_OUT if one.name in ("baseline", "no_global_sfp", "no_local_sfp")]
    folder = write_study(tmp_path / "pilot", Plan(variants=variants, pictures=False, noise=0.05, seeds=range(1, 7)))

    def told(margin):
        components = "components={global_sfp: {loss.sfp_global: 0}, local_sfp: {loss.sfp_local: 0}}"
        found = study(tmp_path, components, f"analysis.matters={{eval/psnr_db: {margin}}}", "analysis.at=2")
        lines = [" ".join(line.split()) for line in shown(found, folder, monkeypatch).splitlines()]
        return next(line for line in lines if line.startswith(f"PSNR, {margin} dB"))

    assert told(0.5) == "PSNR, 0.5 dB 6 all are decided 0 0 0"
    assert re.match(r"PSNR, 0.02 dB 6 \d+ to ", told(0.02))


def test_what_has_a_verdict_before_all_planned_seeds_have_ended_is_not_decided(tmp_path, monkeypatch):
    variants = [one for one in LEAVE_ONE_OUT if one.name in ("baseline", "no_global_sfp")]
    plan = Plan(variants=variants, pictures=False, seeds=range(1, 7), ends={("baseline", 6): ("PLANNED", None, None)})
    folder = write_study(tmp_path / "pilot", plan)
    asked = study(tmp_path, "components={global_sfp: {loss.sfp_global: 0}}", "analysis.matters={eval/psnr_db: 0.5}")
    text = " ".join(shown(asked, folder, monkeypatch).split())
    assert "all have a verdict so far, to be decided at the 6 planned 1 " in text  # one training is outstanding
    assert "are decided" not in text


def test_a_ledger_that_its_driver_left_empty_is_no_pilot(tmp_path, monkeypatch):
    with sqlite3.connect(tmp_path / "ledger.db") as db:
        db.executescript(SCHEMA)
        db.execute("INSERT INTO study VALUES ('schema', ?)", [VERSION])
    db.close()
    text = shown(study(tmp_path, "analysis.matters={eval/psnr_db: 0.5}"), tmp_path, monkeypatch)
    assert "at an sd of 0.5 dB" in text
    assert "the study has not begun" in " ".join(text.split())


def test_a_dry_run_without_a_margin_says_that_seeds_cannot_be_told(tmp_path, monkeypatch):
    text = shown(study(tmp_path), tmp_path / "none", monkeypatch)
    assert "no margin is declared (analysis.matters: " in text


@pytest.mark.parametrize(
    ("design", "runs", "drawn"), [("factorial", full("abcd").runs, []), ("{orders: 20}", None, None)]
)
def test_seeds_of_a_crossed_design_are_told_by_how_its_effects_vary(tmp_path, design, runs, drawn):
    asked = study(tmp_path, f"components={COMPONENTS}", f"design={design}", "analysis.matters={eval/psnr_db: 0.5}")
    if runs is None:
        drawn = orders("abcd", 20, seed=orders_seed(asked.spec.study))
        runs = runs_of_orders(drawn)
    told = outlook(asked, tmp_path / "none", {SEARCH: 0, CONFIRM: 0}, seconds=None, slots=1)
    ratio = max(spreads("abcd", runs, drawn).values())
    seeds = [reach(ratio / sds, level=0.05 / 4, after=0).seeds for sds in (0.5, 1, 2)]
    assert [row[2] for row in told.table.rows] == list(map(str, seeds))
    assert seeds < [108, 28, 8]  # of pairs


def test_a_design_for_screening_is_promised_no_seeds(tmp_path, monkeypatch):
    found = study(
        tmp_path, f"components={COMPONENTS}", "components.e={generator.attention: none}", "design={fractional: III}",
        "analysis.matters={eval/psnr_db: 0.5}",
    )  # fmt: skip
    assert "to decide at each margin" not in shown(found, tmp_path / "none", monkeypatch)
    assert declared(study(tmp_path, f"components={COMPONENTS}", "design=factorial").spec) == dict.fromkeys("abcd", 4)
