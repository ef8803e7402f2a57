"""What is noticed while training: spikes, levels that shift, what is not finite, an output that has collapsed."""

import itertools
import math

import numpy as np
import pytest
import torch

from trials.checkpoint import write
from trials.config import Collapse, Watch
from trials.health import Monitor, collapsed, loss_ratio_log2, robust_score
from trials.progress import DivergedError
from trials.randomness import Streams
from trials.steps import build, step
from trials.train import learning_rate, train


def watched(norms, *, watch=None, network="generator", monitor=None, first=1):
    """Return the events of a row of gradient norms, the first of which is of step `first`, and the monitor."""
    monitor = monitor or Monitor(watch or Watch())
    steps = [{f"health/gradient_norm_{network}": float(norm), "loss/generator": 1.0} for norm in norms]
    return monitor.look(first, steps), monitor


def brief(events):
    return [(event.step, event.kind, event.subject) for event in events]


def noise(count, seed=0, deviation=0.1):
    return np.random.default_rng(seed).normal(0, deviation, count)


def test_a_robust_score_by_hand():
    before = np.array([1.0, 2.0, 3.0, 4.0, 100.0])  # median 3, deviations 2 1 0 1 97: median 1
    assert robust_score(6.0, before) == pytest.approx(3 / 1.4826)
    assert robust_score(0.0, before) == pytest.approx(-3 / 1.4826)
    assert robust_score(1.0, np.zeros(20)) == pytest.approx(1 / 0.05)  # the least deviation
    assert robust_score(0.5, np.array([0.0, 0.01, -0.01])) == pytest.approx(0.5 / 0.05)


def test_a_robust_score_of_normal_values_is_the_ordinary_one():
    values = noise(20_000, deviation=2.0)
    assert robust_score(6.0, values) == pytest.approx(3.0, rel=0.03)


def test_a_spike_is_recorded_once_with_its_step_and_network():
    norms = np.exp(noise(300))
    norms[171] = 30.0  # the first is step 1
    events, monitor = watched(norms, network="local")
    assert brief(events) == [(172, "spike", "local")]
    assert events[0].value == 30
    before = np.log(norms[71:171])
    assert monitor.highest == pytest.approx(robust_score(math.log(30), before))
    assert f"step 172: the gradient norm of local, 30, lies {monitor.highest:.1f} deviations above" in events[0].text
    assert monitor.spikes == 1


def test_networks_are_judged_apart():
    monitor, events = Monitor(Watch()), []
    for number, (ours, theirs) in enumerate(zip(np.exp(noise(100)), np.exp(3 + noise(100, 1)), strict=True), 1):
        one = {"health/gradient_norm_generator": ours, "health/gradient_norm_global": theirs}
        if number == 60:
            one["health/gradient_norm_global"] = 1e4
        events += monitor.look(number, [one])
    assert brief(events) == [(60, "spike", "global")]


def test_a_row_of_unusual_steps_is_one_event_and_a_later_one_another():
    norms = np.exp(noise(200))
    norms[[100, 101, 102, 150]] = 50
    assert brief(watched(norms)[0]) == [(101, "spike", "generator"), (151, "spike", "generator")]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("shift", "kind"), [(1.0, "spike"), (2.5, "spike"), (-1.0, "drop"), (-2.5, "drop")])
def test_a_level_that_shifts_is_one_event_not_one_for_each_time_that_it_crosses_the_bound(seed, shift, kind):
    logarithms = noise(500, seed)
    logarithms[250:] += shift
    assert brief(watched(np.exp(logarithms))[0]) == [(251, kind, "generator")]


def test_a_slow_drift_is_no_event():
    assert watched(np.exp(noise(1000) + np.linspace(0, 5, 1000)))[0] == []


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_steady_noise_is_no_event(seed):
    """Beyond 6 deviations lie 1.7e-5 of log-normal norms (measured, 100 before): 0.03 in 2,000 steps; none with these seeds."""  # noqa: E501
    assert watched(np.exp(noise(2000, seed)))[0] == []


def test_a_very_steady_norm_does_not_make_every_tremor_a_spike():
    norms = np.ones(100)
    norms[50], norms[70] = 1.3, 1.4  # the least deviation of the logarithm is 0.05: log 1.3 is 5.2, log 1.4 is 6.7
    assert brief(watched(norms)[0]) == [(71, "spike", "generator")]


@pytest.mark.parametrize(("number", "noticed"), [(2, False), (20, False), (21, True)])
def test_the_first_twenty_steps_are_never_judged(number, noticed):
    norms = np.exp(noise(60))
    norms[number - 1] = 1e6
    assert brief(watched(norms)[0]) == ([(number, "spike", "generator")] if noticed else [])


def test_the_window_forgets():
    watch = Watch(window_steps=20)
    long, short = (watched(np.exp(noise(200)), watch=one)[1] for one in (Watch(), watch))
    assert len(long.norms["generator"]) == 100
    assert len(short.norms["generator"]) == 20
    assert short.norms["generator"] == pytest.approx(noise(200)[-20:])


@pytest.mark.parametrize(("bound", "count"), [(3.0, 1), (6.0, 1), (60.0, 0)])
def test_the_score_from_which_on_a_norm_is_a_spike_can_be_set(bound, count):
    norms = np.exp(noise(100, 3, 0.05))
    norms[50] = math.exp(1.0)
    assert len(watched(norms, watch=Watch(spike_score=bound))[0]) == count


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_is_an_event_even_among_the_first_and_is_not_remembered(value):
    norms = np.exp(noise(60))
    norms[[4, 5, 40]] = value
    events, monitor = watched(norms)
    assert brief(events) == [(5, "nonfinite", "generator"), (41, "nonfinite", "generator")]
    assert len(monitor.norms["generator"]) == 57
    assert monitor.spikes == 0
    assert math.isfinite(monitor.highest)


def test_a_norm_of_zero_is_a_drop():
    norms = np.exp(noise(60))
    norms[40:] = 0.0
    assert brief(watched(norms)[0])[0] == (41, "drop", "generator")


def test_a_monitor_goes_on_from_its_state_as_if_it_had_not_stopped():
    norms = np.exp(noise(400, 5))
    norms[[40, 41, 42, 300]] = 40
    whole, monitor = watched(norms)
    for cut in (10, 41, 200):  # before it judges, within a row of spikes, after it
        first, stopped = watched(norms[:cut])
        again = Monitor(Watch())
        again.restore(stopped.state())
        second, _ = watched(norms[cut:], monitor=again, first=cut + 1)
        assert first + second == whole
        assert again.state() == monitor.state()


def test_the_ratio_of_losses_by_hand():
    means = {
        "loss/d_global": 0.5,
        "loss/d_local": 0.25,
        "loss/g_global": 1.0,
        "loss/g_local": 2.0,
        "loss/generator": 9.0,
    }
    assert loss_ratio_log2(means) == pytest.approx(-2)
    assert loss_ratio_log2({"loss/generator": 9.0, "loss/sfp_global": 1.0}) is None
    assert loss_ratio_log2(means | {"loss/g_global": -3.0}) is None


HEALTHY = {"eval/contrast_levels": 40.0, "eval/clipped_share": 0.1}
FLAT = {"eval/contrast_levels": 0.5, "eval/clipped_share": 0.1}
CLIPPED = {"eval/contrast_levels": 40.0, "eval/clipped_share": 0.995}


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        (HEALTHY, None),
        (FLAT, (0.5, "the output's contrast is 0.5 grey levels, below 1")),
        (CLIPPED, (0.995, "99.5% of the output's pixels are clipped, more than 99.0%")),
        ({"eval/contrast_levels": 1.0, "eval/clipped_share": 0.99}, None),
        ({}, None),
        ({"eval/contrast_levels": math.nan, "eval/clipped_share": math.nan}, None),
    ],
)
def test_the_rule_of_collapse(means, expected):
    assert collapsed(Collapse(), means) == expected


def test_a_rule_that_is_switched_off_never_holds():
    never = Collapse(contrast_levels=0, clipped_share=1)
    assert collapsed(never, {"eval/contrast_levels": 0, "eval/clipped_share": 1}) is None


@pytest.mark.parametrize(
    ("evaluations", "row", "ends_at"),
    [
        (2, [FLAT, HEALTHY, FLAT, CLIPPED], 4),
        (1, [HEALTHY, CLIPPED], 2),
        (3, [FLAT, FLAT, HEALTHY, FLAT, FLAT], None),
        (3, [FLAT, FLAT, FLAT], 3),
    ],
)
def test_so_many_evaluations_in_a_row_end_a_training(evaluations, row, ends_at):
    monitor = Monitor(Watch(collapse=Collapse(evaluations=evaluations)))
    for number, means in enumerate(row, 1):
        if number == ends_at:
            with pytest.raises(DivergedError, match=f"step {number}: collapsed, ") as caught:
                monitor.evaluated(number, means)
            assert brief(caught.value.events) == [(number, "collapse", "output")]
            return
        found = monitor.evaluated(number, means)
        assert brief(found) == ([] if means is HEALTHY else [(number, "collapse", "output")])
    assert ends_at is None


@pytest.mark.parametrize(("means", "value"), [(FLAT, 0.5), (CLIPPED, 0.995)])
def test_a_collapses_value_is_what_its_sentence_names(means, value):
    (event,) = Monitor(Watch()).evaluated(4, means)
    assert event.value == value


# --- Whole trainings ---

QUICK = {"crop_px": 16, "local.patch_px": 8, "generator.depth": 2}


def run(config, folders, folder):
    """Return the reports of a training and the error that it ended with, if any."""
    reports = []
    try:
        for report in train(config, folders, seed=0, folder=folder):
            reports.append(report)
    except DivergedError as error:
        return reports, error
    return reports, None


def breaking(monkeypatch, number, change):
    """Make the measures of step `number` other ones."""

    def changed(gan, batch):
        measures = step(gan, batch)
        return measures | change if batch.step == number else measures

    monkeypatch.setattr("trials.train.step", changed)


def test_a_learning_rate_beyond_all_reason_ends_with_the_step_and_the_losses(tiny, folders, tmp_path):
    reports, error = run(
        tiny(QUICK | {"steps": 8, "evaluate_every": 4, "optimiser.learning_rate": 1e30}), folders, tmp_path
    )
    assert str(error).startswith("step 2: loss/g_global, ")  # the first step is measured before any network moved
    (last,) = reports
    assert (last.images, last.checkpoint, last.pictures) == ([], None, {})
    assert {event.kind for event in last.events} == {"nonfinite"}
    assert {event.step for event in last.events} == {2}
    assert last.metrics["loss/generator"] == pytest.approx(3, abs=1)  # of the step before it
    assert not list(tmp_path.glob("*.pt"))


@pytest.mark.parametrize("number", [1, 4, 5, 8, 25, 40, 41])
def test_a_loss_that_is_not_finite_ends_the_training_with_its_exact_step(tiny, folders, tmp_path, monkeypatch, number):
    breaking(monkeypatch, number, {"loss/sfp_local": torch.tensor(math.inf), "loss/generator": torch.tensor(math.nan)})
    config = tiny(QUICK | {"steps": 45, "evaluate_every": 4 if number < 10 else 45})
    reports, error = run(config, folders, tmp_path)
    *earlier, last = reports
    assert (
        str(error) == f"step {number}: loss/sfp_local, loss/generator became infinite or not a number"
        or str(error) == f"step {number}: loss/generator, loss/sfp_local became infinite or not a number"
    )
    assert brief(last.events)[-1] == (number, "nonfinite", "losses")
    assert last.events[-1].text == str(error)
    assert [report.step for report in earlier] == [4] * (5 <= number < 10)
    assert (last.images, last.checkpoint) == ([], None)
    assert all(report.checkpoint and report.images for report in earlier)
    assert all(math.isfinite(value) for name, value in last.metrics.items() if name.startswith("loss/"))


@pytest.mark.parametrize("number", [1, 5, 6])
def test_the_last_report_lies_beyond_the_ones_before_it(tiny, folders, tmp_path, monkeypatch, number):
    """Reports are told apart by their steps: a second one of step 4 would replace the one with a checkpoint."""
    breaking(monkeypatch, number, {"loss/d_local": torch.tensor(math.nan)})
    reports, _ = run(tiny(QUICK | {"steps": 8, "evaluate_every": 4}), folders, tmp_path)
    steps = [0] + [report.step for report in reports]
    assert all(later > earlier for earlier, later in itertools.pairwise(steps))


def test_a_gradient_that_is_not_finite_is_an_event_and_the_training_goes_on(tiny, folders, tmp_path, monkeypatch):
    breaking(monkeypatch, 2, {"health/gradient_norm_global": torch.tensor(math.inf)})
    reports, error = run(tiny(QUICK), folders, tmp_path)
    assert error is None
    assert brief(reports[0].events) == [(2, "nonfinite", "global")]
    assert [report.step for report in reports] == [2, 4]


def test_what_led_to_the_end_is_told_with_it(tiny, folders, tmp_path, monkeypatch):
    def changed(gan, batch):
        infinite = {5: "health/gradient_norm_global", 6: "loss/d_local"}.get(batch.step)
        return step(gan, batch) | ({infinite: torch.tensor(math.inf)} if infinite else {})

    monkeypatch.setattr("trials.train.step", changed)
    reports, _ = run(tiny(QUICK | {"steps": 8, "evaluate_every": 4}), folders, tmp_path)
    assert brief(reports[-1].events) == [(5, "nonfinite", "global"), (6, "nonfinite", "losses")]


def test_weights_that_break_at_the_last_step_are_noticed_by_the_evaluation(tiny, folders, tmp_path):
    reports, error = run(tiny(QUICK | {"steps": 1, "optimiser.learning_rate": 1e38}), folders, tmp_path)
    assert str(error) == "step 1: the generator's output is not finite"
    assert brief(reports[-1].events) == [(1, "nonfinite", "output")]
    assert reports[-1].metrics["loss/generator"] > 0


def test_a_training_that_breaks_down_records_when_it_did(tiny, folders, tmp_path, monkeypatch):
    def rate(config, number, network="generator"):
        return 0.3 if number == 31 else learning_rate(config, number, network)

    config = tiny(QUICK | {"steps": 40, "evaluate_every": 20})
    steady, _ = run(config, folders, tmp_path / "steady")
    monkeypatch.setattr("trials.train.learning_rate", rate)
    broken, error = run(config, folders, tmp_path / "broken")
    assert error is None
    assert not [event for report in steady for event in report.events if event.kind == "spike"]
    spikes = [event for event in broken[1].events if event.kind == "spike"]
    assert {event.step for event in spikes} == {32}  # the first step that sees what step 31 has done
    assert {"generator", "global"} <= {event.subject for event in spikes}
    assert broken[1].metrics["health/gradient_spikes"] == len(spikes)
    assert broken[1].metrics["health/gradient_spike_score"] > 6
    assert math.isfinite(broken[1].metrics["loss/generator"])


@pytest.mark.parametrize(("evaluations", "steps"), [(1, [2]), (2, [2, 4]), (3, [2, 4, 6])])
def test_an_output_that_has_collapsed_ends_the_training(tiny, folders, tmp_path, evaluations, steps):
    settings = QUICK | {"generator.input_weight": 0.0, "generator.attend.residual": False, "steps": 20,
                        "optimiser.learning_rate": 1e-9, "watch.collapse.evaluations": evaluations}  # fmt: skip
    state = build(tiny(settings), Streams(0), torch.device("cpu")).generator.state_dict()
    state["conv6.weight"].zero_()  # the last convolution: what is left is its bias, one colour
    write(tmp_path / "flat.pt", state)
    reports, error = run(tiny(settings | {"init": str(tmp_path / "flat.pt")}), folders, tmp_path / "trial")
    assert [report.step for report in reports] == steps
    assert str(error).startswith(f"step {steps[-1]}: collapsed, the output's contrast is ")
    assert [brief(report.events) for report in reports] == [[(number, "collapse", "output")] for number in steps]
    *earlier, last = reports
    assert all(report.checkpoint and report.images for report in earlier)
    assert (last.checkpoint, last.images) == (None, [])
    assert last.metrics["eval/contrast_levels"] < 1
    assert (tmp_path / "trial" / f"checkpoint-{steps[-1]}.pt").exists() is False
