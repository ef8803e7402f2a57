"""Studies whose seeds are trained until all is decided, simulated: what is planned, kept, and done again."""

import pandas as pd
import pytest
import yaml
from scipy import stats

from analysis.report import write_report
from platform import mirror_ledger, simulation
from platform.dry_run import looks_plan
from platform.errors import SpecError
from platform.mirror_content import study_run
from platform.plan import Looked, seeds_of
from platform.simulation import KilledError, simulate
from platform.spec_checks import Finder, check_files
from platform.spec_file import read
from tests.platform.simulated import SPEC, everything, rows, study

NOISE = {1: 0.1, 2: -0.2, 3: 0.05, 4: 0.15, 5: -0.1, 6: 0.2, 7: -0.05, 8: 0.0, 9: 0.1, 10: -0.15, 11: 0.12, 12: -0.02}


def curve(settings, seed):
    """Return the curve of a trial: without attention 3 dB are lost, the local discriminator makes no difference."""
    lost = 3.0 if settings["generator"]["attention"] == "none" else 0.0
    noise = NOISE[seed] if settings["local"]["discriminator"] else NOISE[seed % 12 + 1]
    steps = range(settings["evaluate_every"], settings["steps"] + 1, settings["evaluate_every"])
    return {step: {"eval/psnr_db": 20 - lost + 0.3 * noise + lost * 0.01 * seed, "eval/niqe": 5.0} for step in steps}


def searchless(tmp_path, *settings, **sections):
    spec = {key: value for key, value in SPEC.items() if key not in ("search", "confirm")}
    seeds = {"start": 3, "max": 12, "until": "decided"}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump({**spec, "seeds": seeds, **sections}))
    return read(tmp_path / "spec.yaml", settings)


def trained(folder):
    query = "SELECT variant, count(*) FROM cell JOIN trial ON trial.number = cell.trial WHERE state = 'COMPLETED' "
    return dict(rows(folder, query + "GROUP BY variant"))


def looks(folder):
    return rows(folder, "SELECT seeds, variant, verdict FROM look ORDER BY seeds, variant")


def test_a_component_that_is_decided_gets_no_more_seeds(tmp_path):
    simulate(searchless(tmp_path), tmp_path / "out", curve)
    found = looks(tmp_path / "out")
    assert found[:2] == [(3, "no_attention", "helps"), (3, "no_local_discriminator", "undecided")]
    assert [row[:2] for row in found[2:]] == [(seeds, "no_local_discriminator") for seeds in (5, 8, 12)]
    assert trained(tmp_path / "out") == {"baseline": 12, "no_attention": 3, "no_local_discriminator": 12}


def test_all_decided_ends_the_study(tmp_path):
    simulate(searchless(tmp_path, "analysis.matters={eval/psnr_db: 2}"), tmp_path / "out", curve)
    assert looks(tmp_path / "out")[-1][2] == "equivalent"
    assert max(trained(tmp_path / "out").values()) < 12


def test_a_study_killed_anywhere_ends_in_the_same_tables(tmp_path):
    found = searchless(tmp_path)
    simulate(found, tmp_path / "out", curve)
    for reports in (1, 29, 31, 90, 91, 133, 170):
        try:
            simulate(found, tmp_path / "killed", curve, reports=reports)
        except KilledError:
            continue
    simulate(found, tmp_path / "killed", curve)
    first, second = everything(tmp_path / "out"), everything(tmp_path / "killed")
    assert looks(tmp_path / "out") == looks(tmp_path / "killed")
    assert first["report"] == second["report"]
    assert first["cell"] == second["cell"]


def test_a_finished_study_is_not_looked_at_again(tmp_path):
    found = searchless(tmp_path)
    simulate(found, tmp_path / "out", curve)
    before = rows(tmp_path / "out", "SELECT * FROM look")
    job = simulate(found, tmp_path / "out", curve)
    assert rows(tmp_path / "out", "SELECT * FROM look") == before
    assert job.reason == ""


def test_another_margin_looks_anew_and_is_a_deviation(tmp_path):
    simulate(searchless(tmp_path), tmp_path / "out", curve)
    simulate(searchless(tmp_path, "analysis.matters={eval/psnr_db: 2}"), tmp_path / "out", curve)
    assert looks(tmp_path / "out")[:2] == [(3, "no_attention", "helps"), (3, "no_local_discriminator", "equivalent")]
    ((said,),) = rows(tmp_path / "out", "SELECT text FROM deviation")
    assert said.startswith("analysis.matters")


def test_seeds_go_on_for_what_an_open_comparison_needs(tmp_path):
    spec = searchless(tmp_path, "design=add-one-in").spec
    looked = [
        Looked(3, "bare", -3.0, 1e-9, None, "hurts"),
        Looked(3, "only_attention", 3.0, 1e-9, None, "helps"),
        Looked(3, "only_local_discriminator", 0.1, 0.4, None, "undecided"),
    ]
    assert seeds_of(spec, []) == dict.fromkeys(("baseline", "bare", "only_attention", "only_local_discriminator"), 3)
    assert seeds_of(spec, looked) == {
        "baseline": 3, "bare": 5, "only_attention": 3, "only_local_discriminator": 5,
    }  # fmt: skip


CROSSED = {"design": "factorial", "control": {"placebo": True}, "seeds": {"start": 3, "max": 8, "until": "decided"}}


def test_of_a_factorial_every_variant_goes_on_until_all_main_effects_are_decided(tmp_path):
    folder = tmp_path / "out"
    simulate(searchless(tmp_path, **CROSSED), folder, curve)
    found = looks(folder)
    assert found[:2] == [(3, "attention", "helps"), (3, "local_discriminator", "undecided")]
    assert [row[:2] for row in found if row[1] == "attention"] == [(3, "attention")]
    assert [row[0] for row in found if row[1] == "local_discriminator"] == [3, 5, 8]
    assert set(trained(folder).values()) == {8}
    ((difference, p),) = rows(folder, "SELECT difference, p FROM look WHERE seeds = 3 AND variant = 'attention'")
    # by hand: the effect of a seed is 3 - 0.03 x seed, whatever the local discriminator is
    effects = [3 - 0.03 * seed for seed in (1, 2, 3)]
    assert difference == pytest.approx(2.94)
    assert p == pytest.approx(stats.ttest_1samp(effects, 0).pvalue, rel=1e-6)
    report = write_report(folder)
    primary = pd.read_csv(report.with_name("verdicts.csv")).query("role == 'primary'").set_index("variant")
    assert primary["look"].to_dict() == {"attention": 3, "local_discriminator": 0, "placebo": 0}
    assert primary["p_adjusted"]["attention"] == pytest.approx(2 * p / (3 / 8) ** 2)  # Holm, of two
    told = pd.read_csv(report.with_name("effects.csv")).query("role == 'primary'").set_index("component")
    for name in ("verdict", "look", "p_adjusted", "sentence"):
        assert told[name].to_dict() == primary[name].drop("placebo").to_dict()
    text = folder.joinpath("report", "tables", "verdicts.tex").read_text()
    assert "Decided: attention at 3 seeds." in text
    tags = study_run(mirror_ledger.Ledger(folder).facts(), "").tags
    assert tags["decided"] == "attention helps (look at 3 seeds)"
    assert (tags["trials"], tags["trials_at_most"]) == ("40", "40")


def test_of_a_factorial_all_decided_ends_the_study_and_the_control_alone_goes_on(tmp_path):
    folder = tmp_path / "out"
    simulate(searchless(tmp_path, "analysis.matters={eval/psnr_db: 1}", **CROSSED), folder, curve)
    assert looks(folder)[:2] == [(3, "attention", "helps"), (3, "local_discriminator", "equivalent")]
    spec = searchless(tmp_path, **CROSSED).spec
    assert looks_plan(spec) == (
        "5 variants, all until every main effect is decided, with at most 8 seeds: looks at 3, 5 and 8, from 15 to 40 "
        "trials"
    )
    over = [Looked(3, name, 1.0, 1e-9, None, "helps") for name in ("attention", "local_discriminator")]
    open_ = Looked(3, "placebo", 0.0, 1.0, None, "undecided")
    assert seeds_of(spec, over) == {
        "baseline": 5, "no_attention": 3, "no_local_discriminator": 3, "no_attention+local_discriminator": 3,
        "placebo": 5,
    }  # fmt: skip
    assert set(seeds_of(spec, [*over, open_]).values()) == {3, 5}
    assert set(seeds_of(spec, [over[0], open_]).values()) == {5}


THIRD = {"patches": {"local.patches": 1}}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"design": {"orders": 20}}, "seeds: until decided, got {\"orders\": 20}; more seeds do not lessen the error"),
        ({"design": {"fractional": "III"}, "components": SPEC["components"] | THIRD},
         "resolution III main effects have no verdicts: choose another design, or give a number of seeds"),
        ({"analysis": {"primary": "eval/noise_levels"}}, "eval/noise_levels has no direction, so no verdict"),
        ({"control": {"placebo": True}, "components": {"placebo": {"loss.sfp_local": 0}}}, "is the control's"),
    ],
)  # fmt: skip
def test_what_no_number_of_seeds_decides_is_refused_in_a_sentence(tmp_path, settings, said):
    with pytest.raises(SpecError) as found:
        searchless(tmp_path, **settings)
    assert said in str(found.value)


def test_too_few_scenes_for_images_like_these_are_refused_where_looks_should_decide(tmp_path):
    def problems(*settings):
        found = Finder({}, [])
        check_files(searchless(tmp_path, *settings), found)
        return [(one.where, one.what) for one in found.problems]

    ((where, what),) = problems("analysis.images=sample")
    assert where == "analysis.images"
    assert what.startswith("expected 7 scenes or more for verdicts on images like these, got 2 with eval/psnr_db")
    assert problems() == []
    assert problems("analysis.images=sample", "seeds=3") == []


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ({"start": 2, "max": 12, "until": "decided"}, "seeds.start"),
        ({"start": 5, "max": 5, "until": "decided"}, "expected max above start, got 5 and 5"),
        ({"start": 3, "max": 9, "until": "done"}, "seeds.until"),
        ({"start": 3, "max": 9, "until": "decided", "looks": [3, 8]}, "from start (3) to max (9), got [3, 8]"),
        ({"max": 9, "until": "decided", "looks": [3, 3, 9]}, "expected growing numbers of seeds"),
        ("many", "expected a number of seeds from 1 to"),
    ],
)
def test_wrong_looks_are_refused_in_a_sentence(tmp_path, seeds, said):
    with pytest.raises(SpecError) as found:
        searchless(tmp_path, seeds=seeds)
    assert said in str(found.value)
    assert "[until]" not in str(found.value)


def test_a_search_has_seeds_of_its_own(tmp_path):
    with pytest.raises(SpecError, match="until decided goes without a search"):
        study(tmp_path, seeds={"start": 3, "max": 12, "until": "decided"})


def test_the_report_tells_of_the_looks(tmp_path):
    folder = tmp_path / "out"
    simulate(searchless(tmp_path), folder, curve)
    verdicts = pd.read_csv(write_report(folder).with_name("verdicts.csv"))
    primary = verdicts[verdicts["role"] == "primary"].set_index("component")
    assert primary["verdict"].to_dict() == {"attention": "helps", "local_discriminator": "undecided"}
    assert primary["look"].to_dict() == {"attention": 3, "local_discriminator": 0}
    early = "Decided at the look at 3 seeds: what is decided early is estimated too far from zero on average."
    assert primary.loc["attention", "sentence"].endswith(early)
    said = folder.joinpath("report", "report.md").read_text()
    assert "27 of at most 36 trainings are planned, so 9 are saved." in said


def test_before_a_look_nothing_is_decided(tmp_path):
    folder = tmp_path / "out"
    with pytest.raises(KilledError):
        simulate(searchless(tmp_path), folder, curve, reports=85)
    verdicts = pd.read_csv(write_report(folder).with_name("verdicts.csv"))
    assert verdicts["verdict"].isna().all()


def test_other_images_are_looked_at_anew_and_said(tmp_path, monkeypatch):
    folder, found = tmp_path / "out", searchless(tmp_path)
    simulate(found, folder, curve)
    monkeypatch.setattr(simulation, "DIGEST", "others")
    simulate(found, folder, lambda settings, seed: {step: {**one, "eval/psnr_db": 40 - one["eval/psnr_db"]}
                                                    for step, one in curve(settings, seed).items()})  # fmt: skip
    assert looks(folder)[0] == (3, "no_attention", "hurts")
    assert ("data: the images are others than they were, under the same names",) in rows(
        folder, "SELECT text FROM deviation"
    )
    sentences = pd.read_csv(write_report(folder).with_name("verdicts.csv"))["sentence"].dropna()
    assert all("Exploratory" in one for one in sentences)


def test_nothing_is_saved_while_all_is_open(tmp_path):
    folder = tmp_path / "out"

    def flat(settings, seed):
        noise = NOISE[seed % 12 + 1] if settings["generator"]["attention"] == "none" else NOISE[seed]
        value = 20 + (noise if settings["local"]["discriminator"] else NOISE[(seed + 4) % 12 + 1])
        return {step: {"eval/psnr_db": value, "eval/niqe": 5.0} for step in range(10, 101, 10)}

    with pytest.raises(KilledError):
        simulate(searchless(tmp_path), folder, flat, reports=95)
    write_report(folder)
    said = folder.joinpath("report", "report.md").read_text()
    assert "15 of at most 36 trainings are planned so far." in said
    assert "saved" not in said
