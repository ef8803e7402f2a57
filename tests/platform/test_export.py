"""A study's searches in an Optuna storage: ledgers are written here row by row, and read back with Optuna alone."""

import json
import math
import sqlite3
from datetime import datetime

import optuna
import pytest
from optuna.trial import TrialState

from analysis.ledger import open_ledger
from analysis.schema import SCHEMA, VERSION
from platform import export
from platform.export_ledger import searches
from platform.export_trials import exported

PSNR, NIQE, GAP = "eval/psnr_db", "eval/niqe", "health/duality_gap"
BEGUN = 1_790_000_000.0
SPACE = {
    "loss.sfp": {"float": [0.1, 10.0], "log": True},
    "local.patches": {"choice": [False, True]},
    "local.patch_px": {"int": [16, 32], "step": 8, "when": {"local.patches": [True]}},
}
POINT = {"loss.sfp": 1.0, "local.patches": True, "local.patch_px": 24}


class Made:
    """A ledger as a driver leaves it. Variants: `baseline`, and one without local losses, which has less to search."""

    def __init__(self, folder, objectives=None, *, space=SPACE, at=1, repeats=1, search=True, **facts):
        folder.mkdir(parents=True)
        self.folder, self.trials = folder, 0
        self.db = sqlite3.connect(folder / "ledger.db", isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.executescript(SCHEMA)
        objectives = objectives or {PSNR: "max"}
        keys = ("key", "title", "higher_is_better", "needs_reference", "about", "per_image")
        metrics = [(PSNR, "PSNR (dB)", True, True, "quality", True), (NIQE, "NIQE", False, False, "quality", True),
                   (GAP, "Duality gap", False, False, "equilibrium", False)]  # fmt: skip
        known = {
            "name": folder.name, "schema": VERSION, "storage": str(folder),
            "data": {"source": "folders", "training": {}, "sets": {}},
            "digest": "d1",
            "metrics": [dict(zip(keys, one, strict=True)) for one in metrics],
            "search": search and {
                "objectives": objectives, "sampler": "tpe", "scheduler": {"asha": {"first_rung": 100, "reduction": 3}},
                "repeats": repeats, "seeds": [1], "first_points": 2, "budget": {"trials": 8},
                "parameters": {"baseline": list(space), "no_local": ["loss.sfp"], "no_loss": []},
                "left_out": {"no_local": {"local.patch_px": "it has no effect here"}},
                "cautions": [], "ended": {"no_local": "all 3 settings of its space have been tried"},
            },
            "confirm": None,
        } | facts  # fmt: skip
        self.put("study", *known.items())
        analysis = {"primary": PSNR, "matters": {}, "images": "these", "at": at}
        resolved = {"analysis": analysis} | ({"search": {"space": space}} if search else {})
        for number in (1, 2):
            self.row("spec", number, BEGUN + number, json.dumps(resolved))
        for number, name in enumerate(("baseline", "no_local", "no_loss")):
            self.row("variant", name, number, None, None, None, "{}")

    def row(self, table, *values):
        self.db.execute(f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(values))})", values)

    def put(self, table, *pairs):
        for key, value in pairs:
            self.row(table, key, json.dumps(value))

    def trial(self, state="COMPLETED", curves=None, *, seed=1, message=None, start=10.0, end=20.0):
        """Add a trial; return its identity. `curves` is metric -> step -> value."""
        self.trials += 1
        number, name = self.trials, f"{self.trials:032x}"
        began = None if state == "PLANNED" else BEGUN + start
        ended = None if state in ("PLANNED", "RUNNING") else BEGUN + end
        kind = "data" if state == "FAILED" else None
        self.row("trial", number, name, seed, "", "{}", "d1", state, kind, message, BEGUN, began, ended)
        for metric, curve in (curves or {}).items():
            for step, value in curve.items():
                self.row("step", number, step, BEGUN, 1.0, None, "{}")
                self.row("report", number, step, metric, value)
        return name

    def suggest(self, number, params=POINT, *trials, variant="baseline", repeat=0, at=5.0, **columns):
        """Add a suggestion with its trials, one for each seed."""
        first = trials[0] if trials else None
        rest = [columns.get(key) for key in ("same_as", "refused", "left_out")]
        self.row("suggestion", variant, repeat, number, BEGUN + at, json.dumps(params), first, *rest)
        for trial in trials:
            self.cell("search", variant, repeat, number, trial)

    def cell(self, stage, variant, repeat, number, trial):
        seed = self.db.execute("SELECT seed FROM trial WHERE id = ?", (trial,)).fetchone()[0]
        self.row("cell", stage, variant, repeat, number, seed, int(trial, 16))

    def export(self, file="optuna.db"):
        return export.main([str(self.folder), "--optuna", self.url(file)])

    def url(self, file="optuna.db"):
        return f"sqlite:///{self.folder.parent / file}"

    def study(self, variant="baseline"):
        assert self.export() == 0
        return optuna.load_study(study_name=f"{self.folder.name} · {variant}", storage=self.url())


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path / "study")


@pytest.fixture
def two(tmp_path):
    """A study with two objectives."""
    return Made(tmp_path / "study", {PSNR: "max", NIQE: "min"})


def names(url):
    """Return the studies' names in the order in which they were made, which is the dashboard's."""
    summaries = optuna.get_all_study_summaries(url)
    return [one.study_name for one in sorted(summaries, key=lambda one: one._study_id)]


# --- studies -----------------------------------------------------------------------------------------------------


def test_each_variant_that_searches_is_a_study_in_the_order_of_the_plan(two):
    assert two.export() == 0
    assert names(two.url()) == ["study · baseline", "study · no_local"]
    study = two.study()
    assert [one.name for one in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.metric_names == [PSNR, NIQE]


def test_a_study_says_what_was_searched_and_how(made):
    made.row("choice", "no_local", 0, None, "none of 2 candidates has eval/niqe <= 4", BEGUN)
    assert made.study("no_local").user_attrs == {
        "study": "study",
        "ledger": "study, begun 2026-09-21T14:13:21+00:00",
        "variant": "no_local",
        "repeat": 0,
        "spec": 2,
        "sampler": "tpe",
        "scheduler": "asha (first_rung 100, reduction 3)",
        "budget": "8 trials",
        "seeds": "1",
        "not searched: local.patch_px": "it has no effect here",
        "ended": "all 3 settings of its space have been tried",
        "chosen": "none",
        "why": "none of 2 candidates has eval/niqe <= 4",
    }


def test_repeats_are_studies_of_their_own(tmp_path):
    made = Made(tmp_path / "study", repeats=2)
    made.suggest(0, POINT, made.trial(curves={PSNR: {100: 12.0}}), repeat=1)
    assert len(made.study("baseline · repeat 1").trials) == 1
    assert len(made.study("baseline · repeat 0").trials) == 0


# --- trials ------------------------------------------------------------------------------------------------------


def test_a_completed_suggestion_has_its_settings_its_worth_and_its_curve(tmp_path):
    made = Made(tmp_path / "study", at=2)
    made.suggest(0, POINT, made.trial(curves={PSNR: {100: 10.0, 200: 13.0, 300: 14.0}, NIQE: {100: 5.0}}))
    (trial,) = made.study().trials
    assert trial.state == TrialState.COMPLETE
    assert trial.values == [13.5]  # of the last two evaluations, as the spec says
    assert trial.intermediate_values == {100: 10.0, 200: 13.0, 300: 14.0}
    assert trial.params == POINT
    assert trial.distributions == {
        "loss.sfp": optuna.distributions.FloatDistribution(0.1, 10, log=True),
        "local.patches": optuna.distributions.CategoricalDistribution([False, True]),
        "local.patch_px": optuna.distributions.IntDistribution(16, 32, step=8),
    }
    assert trial.datetime_start == datetime.fromtimestamp(BEGUN + 10)
    assert trial.datetime_complete == datetime.fromtimestamp(BEGUN + 20)
    assert trial.user_attrs == {"number": 0, "state": "COMPLETED", "seeds": "1", "identity": f"{1:032x}"}


def test_a_parameter_that_does_not_exist_under_the_others_is_absent(made):
    made.suggest(0, {"loss.sfp": 1, "local.patches": False}, made.trial(curves={PSNR: {100: 10.0}}))
    (trial,) = made.study().trials
    assert trial.params == {"loss.sfp": 1.0, "local.patches": False}


def test_a_setting_outside_of_the_space_is_an_attribute(made):
    made.suggest(0, {**POINT, "loss.sfp": 20.0, "train.lr": 0.1}, made.trial(curves={PSNR: {100: 10.0}}))
    (trial,) = made.study().trials
    assert trial.params == {"local.patches": True, "local.patch_px": 24}
    assert (trial.user_attrs["loss.sfp"], trial.user_attrs["train.lr"]) == (20.0, 0.1)


@pytest.mark.filterwarnings("error")
def test_choices_of_every_type_are_categories(tmp_path):
    choices = [None, True, "none", 3, 0.5]
    made = Made(tmp_path / "study", space={"a": {"choice": choices}})
    for number, one in enumerate(choices):
        made.suggest(number, {"a": one}, made.trial(curves={PSNR: {100: 10.0}}))
    assert [one.params["a"] for one in made.study().trials] == choices


def test_a_stopped_suggestion_is_pruned_at_its_rung(made):
    made.suggest(0, POINT, made.trial("STOPPED", {PSNR: {50: 9.0, 100: 10.0}}))
    (trial,) = made.study().trials
    assert (trial.state, trial.value, trial.last_step) == (TrialState.PRUNED, 10.0, 100)
    assert trial.user_attrs["rung"] == 100


def test_with_several_objectives_the_values_at_the_rung_are_attributes(two):
    two.suggest(0, POINT, two.trial("STOPPED", {PSNR: {50: 9.0, 100: 10.0}, NIQE: {50: 6.0, 100: 5.5}}))
    study = two.study()
    (trial,) = study.trials
    assert (trial.state, trial.values, trial.intermediate_values) == (TrialState.PRUNED, None, {})
    attributes = trial.user_attrs
    assert (attributes["rung"], attributes[f"{PSNR} at the rung"], attributes[f"{NIQE} at the rung"]) == (100, 10, 5.5)
    assert study.best_trials == []  # Optuna can go through it


def test_a_value_that_is_missing_at_the_rung_is_no_attribute(two):
    two.suggest(0, POINT, two.trial("STOPPED", {PSNR: {100: 10.0}, NIQE: {100: None}}))
    (trial,) = two.study().trials
    assert f"{PSNR} at the rung" in trial.user_attrs
    assert f"{NIQE} at the rung" not in trial.user_attrs


@pytest.mark.parametrize("state", ["DIVERGED", "FAILED"])
def test_what_broke_down_is_a_failure_with_what_was_said(made, state):
    made.suggest(0, POINT, made.trial(state, {PSNR: {100: 10.0}}, message="loss is NaN\nTraceback"))
    (trial,) = made.study().trials
    assert (trial.state, trial.values) == (TrialState.FAIL, None)
    assert (trial.user_attrs["state"], trial.user_attrs["message"]) == (state, "loss is NaN")


def test_refused_settings_are_a_failure(made):
    made.suggest(0, POINT, refused="patches do not fit into the crop")
    (trial,) = made.study().trials
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs == {"number": 0, "state": "REFUSED", "message": "patches do not fit into the crop"}


@pytest.mark.parametrize("state", ["PLANNED", "RUNNING"])
def test_what_has_not_ended_runs(made, state):
    made.suggest(0, POINT, made.trial(state, {PSNR: {100: 10.0}}))
    (trial,) = made.study().trials
    assert (trial.state, trial.datetime_complete, trial.user_attrs["state"]) == (TrialState.RUNNING, None, state)


def test_values_that_are_not_finite_are_no_numbers(two):
    two.suggest(0, POINT, two.trial(curves={PSNR: {100: 10.0}, NIQE: {100: None}}))
    two.suggest(1, POINT, two.trial(curves={PSNR: {100: math.inf}, NIQE: {100: 4.0}}))
    trials = two.study().trials
    assert [(one.state, one.values) for one in trials] == [(TrialState.FAIL, None)] * 2
    assert trials[0].user_attrs["message"] == "an objective is no finite number at the last evaluations"


def test_a_curve_has_no_value_where_there_is_none(made):
    made.suggest(0, POINT, made.trial(curves={PSNR: {100: None, 200: math.inf, 300: 12.0}}))
    made.suggest(1, POINT, made.trial("STOPPED", curves={PSNR: {100: 9.0, 200: None}}))
    ended, stopped = made.study().trials
    assert (ended.intermediate_values, ended.value) == ({300: 12.0}, 12.0)
    assert (stopped.intermediate_values, stopped.value) == ({100: 9.0}, None)  # not what it was worth before its rung


def test_a_suggestion_with_several_seeds_is_worth_their_mean(made):
    made.suggest(0, POINT, *(made.trial(curves={PSNR: {100: 8.0 * seed, 200: value}}, seed=seed, end=20 + seed)
                             for seed, value in ((1, 12.0), (2, 15.0))))  # fmt: skip
    ended, running = made.trial(curves={PSNR: {100: 1.0}}), made.trial("RUNNING", seed=2)
    made.suggest(1, POINT, ended, running)
    stopped = [made.trial("STOPPED", {PSNR: {100: 9.0 + seed, 200: 10.0 + seed}}, seed=seed) for seed in (2, 3)]
    made.suggest(2, POINT, made.trial(curves={PSNR: {300: 1.0}}), *stopped)
    both, half, pruned = made.study().trials
    assert (both.value, both.intermediate_values) == (13.5, {100: 12.0, 200: 13.5})
    assert (both.user_attrs["seeds"], both.datetime_complete) == ("1, 2", datetime.fromtimestamp(BEGUN + 22))
    assert half.state == TrialState.RUNNING
    assert (pruned.value, pruned.intermediate_values) == (12.0, {100: 11.0, 200: 12.0})  # of the first one stopped


def test_a_repeat_is_answered_from_the_trial_that_there_is_and_takes_no_time(made):
    trial = made.trial(curves={PSNR: {100: 10.0}})
    made.suggest(0, POINT, trial)
    made.suggest(1, POINT, trial, same_as=0, at=60.0)
    made.db.execute("DELETE FROM cell WHERE number = 1")
    repeat = made.study().trials[1]
    assert (repeat.value, repeat.user_attrs["same_as"]) == (10.0, 0)
    assert repeat.datetime_start == repeat.datetime_complete == datetime.fromtimestamp(BEGUN + 60)


def test_what_was_left_out_since_is_missing_and_the_numbers_say_so(made):
    for number, left_out in ((0, None), (1, "loss.sfp was 20, which is not in the space any more"), (2, None)):
        made.suggest(number, POINT, made.trial(curves={PSNR: {100: 10.0}}), left_out=left_out)
    assert [(one.number, one.user_attrs["number"]) for one in made.study().trials] == [(0, 0), (1, 2)]


@pytest.mark.parametrize(("sets", "value"), [([], 11.0), (["fresh"], 8.0)])
def test_the_chosen_suggestion_is_marked_and_has_what_was_confirmed(tmp_path, sets, value):
    made = Made(tmp_path / "study", {PSNR: "max", GAP: "min"}, confirm={"seeds": [2, 3], "sets": sets, "digest": "d2"})
    made.suggest(0, POINT, made.trial(curves={PSNR: {100: 12.0}, GAP: {100: 0.5}}))
    made.suggest(1, POINT, made.trial(curves={PSNR: {100: 13.0}, GAP: {100: 0.5}}))
    made.row("choice", "baseline", 0, 1, "knee of the front of 2 candidates", BEGUN)
    for seed, psnr in ((2, 10.0), (3, 12.0)):
        trial = made.trial(curves={PSNR: {50: 1.0, 100: psnr}, GAP: {50: 1.0, 100: 0.25 * seed}}, seed=seed)
        made.cell("confirm", "baseline", 0, 0, trial)
        for image, score in (("a", psnr - 2), ("b", psnr - 4)):  # on the fresh set 7 and 9
            made.row("image", made.trials, 100, "fresh", image, PSNR, score)
        made.row("image", made.trials, 100, "seen", "a", PSNR, 20.0)
        made.row("image", made.trials, 50, "fresh", "a", PSNR, 0.0)
    made.cell("confirm", "baseline", 0, 0, made.trial("RUNNING", seed=4))
    other, chosen = made.study().trials
    assert "chosen" not in other.user_attrs
    told = chosen.user_attrs
    assert (told["chosen"], told["why"]) == (True, "knee of the front of 2 candidates")
    assert (told[f"{PSNR} confirmed"], told[f"{GAP} confirmed"]) == (value, 0.625)
    assert told["confirmed by"] == "2 of 3 trials"


# --- the storage -------------------------------------------------------------------------------------------------


def test_what_is_written_is_what_optuna_itself_would_write(tmp_path):
    """The rows are written past Optuna's own storage; `Study.add_trials` is the reference."""
    made = Made(tmp_path / "study")
    made.suggest(0, POINT, made.trial(curves={PSNR: {100: 10.0, 200: 1e-300}}))
    made.suggest(1, POINT, made.trial("STOPPED", {PSNR: {100: 9.0}}))
    made.suggest(2, {"loss.sfp": 0.1, "local.patches": False}, made.trial("FAILED", message="ä"))
    made.suggest(3, POINT, made.trial("RUNNING"))
    with open_ledger(made.folder) as ledger:
        one = exported(searches(ledger))[0]
    url = f"sqlite:///{tmp_path / 'reference.db'}"
    reference = optuna.create_study(study_name=one.name, storage=url, direction="maximize")
    reference.add_trials(one.trials)
    mine = made.study()
    assert mine.trials == reference.trials
    assert mine.best_trial == reference.best_trial

    def rows(file, table):
        with sqlite3.connect(file) as db:
            return [row[1:] for row in db.execute(f"SELECT * FROM {table} ORDER BY 1")]

    for table in ("trials", "trial_params", "trial_values", "trial_intermediate_values", "trial_user_attributes"):
        written, expected = rows(tmp_path / "optuna.db", table), rows(tmp_path / "reference.db", table)
        assert sorted(map(repr, written)) == sorted(map(repr, expected))


def test_a_second_export_replaces_the_first_and_leaves_others_alone(made):
    url = made.url()
    other = optuna.create_study(study_name="mine", storage=url)
    other.set_user_attr("ledger", "by hand")
    other.add_trial(optuna.trial.create_trial(value=1.0))
    made.suggest(0, POINT, made.trial(curves={PSNR: {100: 10.0}}))
    made.suggest(1, POINT, made.trial("RUNNING", {PSNR: {100: 10.0}}))
    before = made.study()
    optuna.create_study(study_name="later", storage=url)
    made.db.execute("UPDATE trial SET state = 'COMPLETED' WHERE number = 2")
    made.db.execute("DELETE FROM variant WHERE name = 'no_local'")
    after = made.study()
    assert [one.state.name for one in after.trials] == ["COMPLETE", "COMPLETE"]
    assert after._study_id == before._study_id  # an open page of the dashboard stays where it is
    assert names(url) == ["mine", "study · baseline", "later"]
    assert [one.value for one in other.trials] == [1.0]
    assert other.user_attrs == {"ledger": "by hand"}
    with sqlite3.connect(made.folder.parent / "optuna.db") as db:  # no row of the first export is left behind
        assert db.execute("SELECT count(*) FROM trial_params").fetchone() == (6,)
        assert db.execute("SELECT count(*) FROM trials").fetchone() == (3,)


def test_a_study_of_the_same_name_from_elsewhere_is_not_touched(made, capsys):
    foreign = optuna.create_study(study_name="study · no_local", storage=made.url())
    foreign.add_trial(optuna.trial.create_trial(value=1.0))
    assert made.export() == 2
    assert "holds a study 'study · no_local' that was not exported from this ledger" in capsys.readouterr().err
    assert names(made.url()) == ["study · no_local"]
    assert [one.value for one in foreign.trials] == [1.0]


def test_another_ledger_of_the_same_name_is_another_study(tmp_path, capsys):
    assert Made(tmp_path / "study").export() == 0
    other = Made(tmp_path / "elsewhere" / "study")
    other.db.execute("UPDATE spec SET at = at + 1")
    assert export.main([str(other.folder), "--optuna", f"sqlite:///{tmp_path / 'optuna.db'}"]) == 2
    assert "not exported from this ledger" in capsys.readouterr().err


def test_an_export_that_breaks_off_leaves_the_earlier_one(made, monkeypatch):
    made.suggest(0, POINT, made.trial(curves={PSNR: {100: 10.0}}))
    made.study()
    with monkeypatch.context() as broken:
        broken.setattr("platform.export_storage._fields", lambda one: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            made.export()
    assert names(made.url()) == ["study · baseline", "study · no_local"]
    study = optuna.load_study(study_name="study · baseline", storage=made.url())
    assert [one.value for one in study.trials] == [10.0]


def test_a_driver_may_be_writing_and_nothing_is_written_to_the_ledger(made):
    made.suggest(0, POINT, made.trial(curves={PSNR: {100: 10.0}}))
    made.db.execute("BEGIN IMMEDIATE")
    made.suggest(1, POINT, made.trial(curves={PSNR: {100: 10.0}}))
    assert len(made.study().trials) == 1
    made.db.execute("COMMIT")
    made.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = (made.folder / "ledger.db").read_bytes()
    assert len(made.study().trials) == 2
    assert (made.folder / "ledger.db").read_bytes() == before


# --- what a user may get wrong -----------------------------------------------------------------------------------


def refused(capsys, *arguments):
    """Return the one sentence with which a command is refused."""
    assert export.main([str(one) for one in arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def test_a_study_without_a_search_has_nothing_to_export(tmp_path, capsys):
    made = Made(tmp_path / "study", search=False)
    assert "study has no search to export" in refused(capsys, made.folder, "--optuna", made.url())
    assert not (tmp_path / "optuna.db").exists()


def test_variants_with_nothing_to_search_are_nothing_to_export(made, capsys):
    made.db.execute("DELETE FROM variant WHERE name != 'no_loss'")
    assert "none of its variants has anything to search" in refused(capsys, made.folder, "--optuna", made.url())


def test_a_study_that_does_not_exist_is_named(tmp_path, capsys):
    assert "no study 'nowhere'" in refused(capsys, "nowhere", "--optuna", f"sqlite:///{tmp_path / 'o.db'}")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("optuna.db", "optuna.db cannot be used as an Optuna storage (Could not parse SQLAlchemy URL"),
        ("sqlite:////no/such/folder/o.db", "cannot be used as an Optuna storage (unable to open database file)"),
        ("nosql://host/db", "cannot be used as an Optuna storage (Can't load plugin: sqlalchemy.dialects:nosql)"),
        ("redis://host", "cannot be used as an Optuna storage"),
        ("oracle://me:secret@host/db", "needs a database driver that is not installed (No module named '"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_one_sentence(made, capsys, url, said):
    text = refused(capsys, made.folder, "--optuna", url)
    assert said in text
    assert "secret" not in text


def test_a_file_that_holds_something_else_is_left_alone(made, capsys):
    made.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = (made.folder / "ledger.db").read_bytes()
    assert "is no Optuna storage" in refused(capsys, made.folder, "--optuna", f"sqlite:///{made.folder}/ledger.db")
    assert (made.folder / "ledger.db").read_bytes() == before
    text = made.folder.parent / "notes.txt"
    text.write_text("not a database, but long enough to be taken for one: " * 20)
    assert "file is not a database" in refused(capsys, made.folder, "--optuna", f"sqlite:///{text}")


def test_the_address_of_a_storage_is_asked_for(made, capsys):
    with pytest.raises(SystemExit) as ended:
        export.main([str(made.folder)])
    assert ended.value.code == 2
    assert "--optuna" in capsys.readouterr().err
