from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from analysis.comparison import compare
from analysis.effects import ESTIMANDS, attributions, factorial_effects
from analysis.errors import DesignError, StatisticsError
from analysis.factorial import fractional, full, orders, runs_of_orders
from analysis.statistics import paired

PSNR = {"metric": "psnr", "higher_is_better": True}


def name_of(run):
    return "+".join(sorted(run)) or "bare"


def table(runs, names):
    rows = {name_of(run): [int(name in run) for name in names] for run in runs}
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(names))


def made(runs, worth, *, seeds=4, images=3, noise=0.1, draw=1, missing=()):
    """A frame of made-up PSNR: what each run is worth, a seed's own part shared by all, and noise."""
    rng = np.random.default_rng(draw)
    of_seed = rng.normal(0, 0.3, seeds)
    rows = [
        (name_of(run), seed, "set", f"i{image}", worth(run) + of_seed[seed] + image + rng.normal(0, noise))
        for run in runs
        for seed in range(seeds)
        if (name_of(run), seed) not in missing
        for image in range(images)
    ]
    return pd.DataFrame(rows, columns=["variant", "seed", "set", "image", "psnr"])


def worth(run):
    """A adds 2 dB, B takes 1, and A and C together add another 0.8."""
    return 20 + 2 * ("A" in run) - ("B" in run) + 0.8 * ({"A", "C"} <= run)


def test_a_full_factorial_without_noise_gives_what_the_scores_were_made_of():
    design = full("ABC")
    found = factorial_effects(made(design.runs, worth, noise=0), table(design.runs, "ABC"), **PSNR).set_index(
        "component"
    )
    # A adds 2, or 2.8 with C; the interaction is half of what that changes by.
    assert found["difference"].to_dict() == pytest.approx(
        {"A": 2.4, "B": -1, "C": 0.4, "A x B": 0, "A x C": 0.4, "B x C": 0}, abs=1e-9
    )
    assert found.loc["A", ["estimand", "aliases", "verdict"]].tolist() == ["main effect", "", "helps"]
    assert found.loc["B", "verdict"] == "hurts"
    assert set(found["estimand"]) < set(ESTIMANDS)


def test_an_effects_interval_is_that_of_the_contrast_of_each_seed():
    design = full("ABC")
    frame = made(design.runs, worth)
    found = factorial_effects(frame, table(design.runs, "ABC"), **PSNR, margin=0.5).set_index("component").loc["A"]
    cells = frame.pivot_table(index="seed", columns=["variant", "image"], values="psnr")
    signs = {name_of(run): 1 if "A" in run else -1 for run in design.runs}
    d = sum(sign * cells[name].to_numpy() / 4 for name, sign in signs.items())
    expected = paired(d)
    assert (found["low"], found["high"]) == pytest.approx(expected.interval())
    assert (found["p"], found["p_equivalent"]) == pytest.approx((expected.p(), expected.p_equivalent(0.5)), rel=1e-6)
    assert found["deviation"] == pytest.approx(d.mean(axis=1).std(ddof=1))


def test_families_of_main_effects_and_interactions_are_adjusted_apart_and_interactions_have_no_verdict():
    design = full("ABC")
    found = factorial_effects(made(design.runs, worth, noise=1.0), table(design.runs, "ABC"), **PSNR)
    for estimand in ("main effect", "interaction"):
        part = found[found["estimand"] == estimand]
        least = part.loc[part["p"].idxmin()]
        assert least["p_adjusted"] == pytest.approx(min(1, 3 * least["p"]))
    rest = found[found["estimand"] == "interaction"]
    assert (rest["verdict"] == "").all()
    assert rest["why"].str.startswith("an interaction").all()
    assert (
        factorial_effects(made(design.runs, worth), table(design.runs, "ABC"), **PSNR, order=3)["component"].iloc[-1]
    ) == ("A x B x C")


def test_of_a_half_fraction_interactions_stand_once_with_their_aliases():
    design = fractional("ABCD", 4)
    found = factorial_effects(made(design.runs, worth, noise=0), table(design.runs, "ABCD"), **PSNR).set_index(
        "component"
    )
    assert found["aliases"].to_dict() == {
        "A": "", "B": "", "C": "", "D": "", "A x B": "C x D", "A x C": "B x D", "A x D": "B x C",
    }  # fmt: skip
    assert found.at["A x C", "difference"] == pytest.approx(0.4)
    assert found.at["A", "verdict"] == "helps"


def test_at_resolution_three_there_are_effects_for_screening_and_no_verdicts():
    design = fractional("ABC", 3)
    found = factorial_effects(made(design.runs, worth), table(design.runs, "ABC"), **PSNR)
    assert found["component"].tolist() == ["A", "B", "C"]
    assert np.isfinite(found["low"]).all()
    assert (found["verdict"] == "").all()
    assert found["why"].tolist()[0] == "may be B x C as well: for screening alone"
    # The interaction of A and C is taken for B: -1 + 0.4.
    assert found["difference"].tolist()[1] == pytest.approx(-0.6, abs=0.2)


def test_credits_side_by_side_answer_their_own_questions():
    design = full("ABC")
    found = attributions(made(design.runs, worth, noise=0), table(design.runs, "ABC"), **PSNR)
    credit = found.set_index(["estimand", "component"])["difference"]
    assert credit["leave-one-out"].to_dict() == pytest.approx({"A": 2.8, "B": -1, "C": 0.8}, abs=1e-9)
    assert credit["add-one-in"].to_dict() == pytest.approx({"A": 2, "B": -1, "C": 0}, abs=1e-9)
    # The 0.8 that A and C have together is shared by halves.
    assert credit["Shapley value"].to_dict() == pytest.approx({"A": 2.4, "B": -1, "C": 0.4}, abs=1e-9)
    assert credit["together"].to_dict() == pytest.approx({"all": 1.8})


def test_what_the_full_model_loses_is_what_compare_says_with_the_sign_turned():
    design = full("AB")
    frame = made(design.runs, worth)
    left_out = attributions(frame, table(design.runs, "AB"), **PSNR).query("estimand == 'leave-one-out'")
    variants = frame["variant"].isin(["A+B", "A", "B"])
    other = compare(frame[variants], baseline="A+B", **PSNR).set_index("variant").loc[["B", "A"]]
    for mine, theirs in zip(left_out.to_dict("records"), other.to_dict("records"), strict=True):
        assert (mine["low"], mine["high"]) == pytest.approx((-theirs["high"], -theirs["low"]))
        assert mine["p_adjusted"] == pytest.approx(theirs["p_adjusted"])
        assert mine["verdict"] == theirs["verdict"]


@pytest.mark.parametrize("missing", [(), {("A", 0), ("B+C", 2), ("A+B+C", 1)}])
def test_shapley_values_add_up_to_the_whole_whatever_is_missing(missing):
    design = full("ABC")
    frame = made(design.runs, worth, noise=1.0, missing=missing)
    found = attributions(frame, table(design.runs, "ABC"), **PSNR).set_index("estimand")
    assert found.loc["Shapley value", "difference"].sum() == pytest.approx(
        found.at["together", "difference"], abs=1e-12
    )
    assert (found.loc["Shapley value", "sampling"] == 0).all()
    assert found.loc["Shapley value", ["seeds", "n_failed"]].drop_duplicates().values.tolist() == [[4, len(missing)]]
    assert np.isfinite(found.loc["Shapley value", "low"]).all()


def test_drawn_orders_add_up_to_the_whole_and_carry_the_error_of_drawing():
    names, drawn = "ABCDEFG", orders("ABCDEFG", 12, seed=3)
    runs = runs_of_orders(drawn)
    frame = made(runs, worth, noise=0.0, seeds=3)
    found = attributions(frame, table(runs, names), **PSNR, drawn=drawn).query("estimand == 'Shapley value'")
    found = found.set_index("component")
    assert found["difference"].sum() == pytest.approx(1.8)
    # B adds the same in every order; A adds 2 before C and 2.8 after it.
    after = sum(order.index("A") > order.index("C") for order in drawn)
    steps = [2.8] * after + [2.0] * (12 - after)
    assert found.at["A", "difference"] == pytest.approx(np.mean(steps))
    assert found.at["A", "sampling"] == pytest.approx(2.20099 * np.std(steps, ddof=1) / np.sqrt(12), rel=1e-5)
    assert found.at["A", "high"] - found.at["A", "low"] == pytest.approx(2 * found.at["A", "sampling"])
    assert found.at["B", "sampling"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("count", "why"), [(19, "19 random orders, 20 are needed for a verdict"), (20, "")])
def test_few_orders_have_values_and_no_verdict(count, why):
    drawn = orders("ABCDEFG", count, seed=3)
    runs = runs_of_orders(drawn)
    found = attributions(made(runs, worth, seeds=3), table(runs, "ABCDEFG"), **PSNR, margin=0.5, drawn=drawn)
    values = found[found["estimand"] == "Shapley value"]
    assert values["low"].notna().all()
    assert (values["verdict"] == "").all() == bool(why)
    assert values["why"].unique().tolist() == [why]
    assert found.query("estimand != 'Shapley value' and estimand != 'together'")["verdict"].ne("").any()


def test_few_orders_that_hold_every_combination_are_no_sample():
    drawn = list(permutations("AB"))
    found = attributions(made(full("AB").runs, worth), table(full("AB").runs, "AB"), **PSNR, drawn=drawn)
    assert found.query("estimand == 'Shapley value'")["verdict"].tolist() == ["helps", "hurts"]


@pytest.mark.parametrize("margin", [-1.0, 0.0, np.nan, np.inf])
def test_a_margin_that_is_none_is_refused(margin):
    design = full("AB")
    frame, components = made(design.runs, worth), table(design.runs, "AB")
    for ask in (factorial_effects, attributions):
        with pytest.raises(StatisticsError, match="margin: expected a finite number above 0"):
            ask(frame, components, **PSNR, margin=margin)


def test_orders_that_need_a_combination_nobody_trained_are_refused():
    design, drawn = full("ABC"), list(permutations("ABC"))
    some = table([run for run in design.runs if run != {"A", "C"}], "ABC")
    with pytest.raises(DesignError, match=r"the orders need 1 more variant\(s\), the first with A x C"):
        attributions(made(design.runs, worth), some, **PSNR, drawn=drawn)


def test_a_leave_one_out_study_has_that_estimand_alone():
    runs = [frozenset("AB"), frozenset("A"), frozenset("B")]
    found = attributions(made(runs, worth), table(runs, "AB"), **PSNR)
    assert set(found["estimand"]) == {"leave-one-out"}


def test_a_component_whose_variant_the_design_lacks_has_a_row_that_says_so():
    runs = [frozenset("ABC"), frozenset("AB"), frozenset("AC"), frozenset("C")]
    found = attributions(made(runs, worth), table(runs, "ABC"), **PSNR).set_index("component")
    assert found.index.tolist() == ["A", "B", "C"]
    assert found.at["A", "why"] == "the design has no variant with B x C alone"
    assert (found.at["A", "verdict"], found.at["C", "verdict"]) == ("", "helps")


def test_every_effect_that_cannot_be_estimated_says_why():
    design = full("AB")
    lost = {("A", seed) for seed in range(4)}
    found = factorial_effects(made(design.runs, worth, missing=lost), table(design.runs, "AB"), **PSNR)
    assert found["difference"].isna().all()
    assert set(found["why"]) == {"no complete training of A"}
    lost = {("A", seed) for seed in range(3)}
    found = factorial_effects(made(design.runs, worth, missing=lost), table(design.runs, "AB"), **PSNR)
    assert found["difference"].notna().all()
    assert set(found["why"]) == {"A has 1 complete seed, 3 are needed for an interval"}
    lost = {("A", seed) for seed in range(2)}
    found = factorial_effects(made(design.runs, worth, missing=lost), table(design.runs, "AB"), **PSNR)
    assert found["low"].isna().all()
    assert set(found["verdict"]) == {""}
    assert set(found["why"]) == {"A has 2 complete seeds, 3 are needed for an interval"}
    found = factorial_effects(made(design.runs, worth, seeds=2), table(design.runs, "AB"), **PSNR)
    assert set(found["why"]) == {"2 complete seeds, 3 are needed for an interval"}
    found = factorial_effects(made(design.runs, worth), table(design.runs, "AB"), **PSNR, images_are="sample")
    assert set(found["why"]) == {"3 scenes, 7 are needed to speak of images like these"}
    frame = made(design.runs, worth).assign(psnr=np.inf)
    assert set(factorial_effects(frame, table(design.runs, "AB"), **PSNR)["why"]) == {"no image has a finite psnr"}


def test_a_training_that_is_left_out_of_an_effect_is_told_with_its_image():
    design = full("AB")
    frame = made(design.runs, lambda run: 20.0 + len(run))
    frame.loc[(frame["variant"] == "A") & (frame["seed"] == 2) & (frame["image"] == "i1"), "psnr"] = np.inf
    found = factorial_effects(frame, table(design.runs, "AB"), **PSNR)
    assert set(found["left_out"]) == {"1 training is left out: psnr is infinite or missing for set/i1"}
    frame.loc[frame["image"] == "i1", "psnr"] = np.inf
    found = factorial_effects(frame, table(design.runs, "AB"), **PSNR)
    assert set(found["images"]) == {2}
    assert set(found["left_out"]) == {"1 image is left out: psnr is infinite or missing everywhere on set/i1"}


def test_scores_that_are_all_equal_are_no_effect_and_no_spread():
    design = full("AB")
    frame = made(design.runs, lambda run: 20.0, noise=0)
    found = factorial_effects(frame, table(design.runs, "AB"), **PSNR, margin=0.1)
    assert found["p"].tolist() == [1, 1, 1]
    assert found["why"].str.contains("the same for every seed|an interaction").all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda design: design.iloc[:3], "got 3 runs that span 4"),
        (lambda design: design.replace(0, 2), "a 1 where it is there, or a 0"),
        (lambda design: pd.concat([design, design.rename(index=str.lower)]), "A.B and a.b have the same components"),
    ],
)
def test_tables_that_are_no_design_are_refused(change, message):
    design = full("AB")
    with pytest.raises(DesignError, match=message):
        factorial_effects(made(design.runs, worth), change(table(design.runs, "AB")), **PSNR)


@pytest.mark.parametrize(
    ("drawn", "message"), [(["ABD", "ABC"], "expected orders of A, B, C, got A, B, D"), (["ABC"], "2 orders or more")]
)
def test_orders_that_allow_no_values_are_refused(drawn, message):
    runs = [frozenset(run) for run in ("ABC", "AB", "A", "")]
    with pytest.raises(DesignError, match=message):
        attributions(made(runs, worth), table(runs, "ABC"), **PSNR, drawn=drawn)


def test_variants_that_share_no_step_are_refused():
    runs = [frozenset("ABC"), frozenset("A")]
    with pytest.raises(DesignError, match="expected variants that differ by one component"):
        attributions(made(runs, worth), table(runs, "ABC"), **PSNR)


def test_a_frame_of_another_kind_is_refused():
    design = full("AB")
    with pytest.raises(StatisticsError, match="there is no variant"):
        factorial_effects(made(design.runs, worth).drop(columns="variant"), table(design.runs, "AB"), **PSNR)
