import itertools
import math

import numpy as np
import pytest
import torch

from trials import images
from trials.config import Config
from trials.enhance import enhance
from trials.progress import DivergedError, TrainError
from trials.steps import step as take
from trials.train import intervals, learning_rate, seconds, train
from trials.trainer import METRICS
from trials.weights import load

TIMES = ("time/step_s", "time/evaluation_s", "time/inference_ms")


def results(reports):
    """What must not depend on interruptions or on the clock."""
    return [
        (report.step, {key: value for key, value in report.metrics.items() if key not in TIMES}, report.images)
        for report in reports
    ]


def state(path):
    return torch.load(path, weights_only=True)


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("steps", "every", "done", "ends"),
    [(10, 4, 0, [4, 8, 10]), (8, 4, 0, [4, 8]), (10, 4, 4, [8, 10]), (3, 9, 0, [3]), (8, 4, 8, [])],
)
def test_training_is_cut_into_intervals_that_end_with_an_evaluation(steps, every, done, ends):
    runs = list(intervals(Config(steps=steps, evaluate_every=every), done))
    assert [run[-1] for run in runs] == ends
    assert list(itertools.chain(*runs)) == list(range(done + 1, steps + 1))


@pytest.mark.parametrize(("epoch", "share"), [(1, 1.0), (100, 1.0), (101, 1.0), (102, 0.99), (151, 0.5), (200, 0.01)])
def test_the_learning_rate_falls_as_published(epoch, share):
    config = Config()  # 200 epochs of 32 steps
    for step in (32 * epoch - 31, 32 * epoch):
        assert learning_rate(config, step) == pytest.approx(1e-4 * share)


@pytest.mark.parametrize(
    ("flat", "shares"), [(1.0, [1, 1, 1, 1]), (0.0, [1, 0.75, 0.5, 0.25]), (0.25, [1, 1, 2 / 3, 1 / 3])]
)
def test_the_flat_share_decides_when_the_learning_rate_begins_to_fall(tiny, flat, shares):
    config = tiny({"optimiser.flat": flat})
    assert [learning_rate(config, step) / 1e-3 for step in (1, 2, 3, 4)] == pytest.approx(shares)


def test_reports_come_at_every_evaluation_and_at_the_last_step_with_what_was_measured(tiny, folders, tmp_path):
    reports = list(train(tiny({"steps": 5}), folders, seed=0, folder=tmp_path))
    assert [report.step for report in reports] == [2, 4, 5]
    losses = {"generator", "g_global", "g_local", "sfp_global", "sfp_local", "d_global", "d_local"}
    absent = {"eval/hair_gmsd", "eval/hair_high_frequency_log2", "health/duality_gap"}  # no hair here; not asked for
    health = {f"health/gradient_at_output_{name}" for name in ("g_global", "g_local", "sfp_global", "sfp_local")}
    expected = {metric.key for metric in METRICS} - absent | {f"loss/{name}" for name in losses} | health
    expected |= {*TIMES, "progress/images", "health/output_distance", "health/output_spread"}
    for report in reports:
        at_the_end = {"time/inference_ms"} if report.step == 5 else set()
        assert set(report.metrics) == expected - {"time/inference_ms"} | at_the_end
        assert [(one.set, one.image) for one in report.images] == [("pairs", "0"), ("pairs", "1"), ("single", "0")]
        assert report.metrics["progress/images"] == 2 * report.step
        psnr = [one.metrics["eval/psnr_db"] for one in report.images if one.set == "pairs"]
        assert report.metrics["eval/psnr_db"] == pytest.approx(sum(psnr) / 2)
        assert report.metrics["eval/niqe"] == report.images[2].metrics["eval/niqe"]  # the pairs are too small for it
        assert math.isnan(report.images[0].metrics["eval/niqe"])


def test_losses_are_means_over_the_steps_since_the_last_report(tiny, folders, tmp_path):
    single = list(train(tiny({"evaluate_every": 1}), folders, seed=0, folder=tmp_path / "a"))
    double = list(train(tiny({"evaluate_every": 2}), folders, seed=0, folder=tmp_path / "b"))
    for name in ("loss/generator", "loss/d_local"):
        last_two = [report.metrics[name] for report in single[2:]]
        assert double[1].metrics[name] == pytest.approx(sum(last_two) / 2, rel=1e-5)


def test_the_last_step_leaves_the_generator_and_the_pictures_it_makes(tiny, folders, tmp_path):
    *earlier, last = train(tiny(), folders, seed=0, folder=tmp_path)
    assert all(report.pictures == {} for report in earlier)
    assert set(last.pictures) == {"pairs/0", "pairs/1", "single/0"}
    generator = load(tmp_path / "generator.pt", torch.device("cpu"))
    low = images.read(folders.evaluate["pairs"].low / "0.png")
    made = images.read(tmp_path / last.pictures["pairs/0"])
    assert np.abs(made.astype(int) - enhance(generator, low)).max() <= 1


def test_a_training_cut_off_after_its_last_report_leaves_one_checkpoint_all_the_same(tiny, folders, tmp_path):
    reports = train(tiny({"steps": 7}), folders, seed=0, folder=tmp_path)
    last = next(report for report in reports if report.step == 7)
    assert len(list(tmp_path.glob("checkpoint-*.pt"))) > 1
    assert list(train(tiny({"steps": 7}), folders, seed=0, folder=tmp_path, resume=tmp_path / last.checkpoint)) == []
    assert [path.name for path in tmp_path.glob("checkpoint-*.pt")] == ["checkpoint-7.pt"]


def test_what_a_killed_training_left_half_written_goes_when_it_goes_on(tiny, folders, tmp_path):
    first = next(iter(train(tiny(), folders, seed=0, folder=tmp_path)))
    for half in ("checkpoint-4.pt.ab12cd34.part", "generator.pt.ab12cd34.part"):
        (tmp_path / half).touch()
    list(train(tiny(), folders, seed=0, folder=tmp_path, resume=tmp_path / first.checkpoint))
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("stop", [1, 2, 3])
@pytest.mark.parametrize("overrides", [{}, {"generator.attention": "none", "loss.local_weight": 0}], ids=str)
def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(tiny, folders, tmp_path, stop, overrides):
    config = tiny({"steps": 7, **overrides})
    whole = list(train(config, folders, seed=3, folder=tmp_path / "whole"))
    first = list(itertools.islice(train(config, folders, seed=3, folder=tmp_path / "cut"), stop))
    resume = tmp_path / "cut" / first[-1].checkpoint
    second = list(train(config, folders, seed=3, folder=tmp_path / "cut", resume=resume))
    np.testing.assert_equal(results(first + second), results(whole))
    assert equal(state(tmp_path / "cut" / "generator.pt"), state(tmp_path / "whole" / "generator.pt"))
    assert second[-1].pictures == whole[-1].pictures


def test_a_finished_training_has_nothing_left_to_do(tiny, folders, tmp_path):
    *_, last = train(tiny(), folders, seed=0, folder=tmp_path)
    assert list(train(tiny(), folders, seed=0, folder=tmp_path, resume=tmp_path / last.checkpoint)) == []


def test_evaluating_more_often_does_not_change_the_training(tiny, folders, tmp_path):
    for every in (1, 4):
        list(train(tiny({"evaluate_every": every}), folders, seed=0, folder=tmp_path / str(every)))
    assert equal(state(tmp_path / "1" / "generator.pt"), state(tmp_path / "4" / "generator.pt"))


def test_equal_seeds_train_equally_and_another_seed_or_stream_does_not(tiny, folders, tmp_path):
    final = {}
    for name, seed, stream in (("a", 0, ""), ("b", 0, ""), ("c", 1, ""), ("d", 0, "placebo")):
        torch.manual_seed(len(final))
        list(train(tiny(), folders, seed=seed, stream=stream, folder=tmp_path / name))
        final[name] = state(tmp_path / name / "generator.pt")
    assert equal(final["a"], final["b"])
    assert not equal(final["a"], final["c"])
    assert not equal(final["a"], final["d"])


def test_two_checkpoints_stay_beside_the_newest_until_the_next_report_and_one_at_the_end(tiny, folders, tmp_path):
    present = []
    for report in train(tiny({"steps": 8}), folders, seed=0, folder=tmp_path):
        assert (tmp_path / report.checkpoint).is_file()
        present.append(sorted(path.name for path in tmp_path.glob("*.pt*")))
    two, four, six, eight = (f"checkpoint-{step}.pt" for step in (2, 4, 6, 8))
    assert present == [[two], [two, four], [two, four, six], [four, six, eight, "generator.pt"]]
    assert sorted(path.name for path in tmp_path.glob("*.pt*")) == [eight, "generator.pt"]


@pytest.mark.parametrize("steps", [8, 60])
def test_a_loss_that_is_not_finite_ends_the_training_and_is_named_with_its_step(tiny, folders, tmp_path, steps):
    config = tiny({"steps": steps, "evaluate_every": steps, "optimiser.learning_rate": 1e30})
    with pytest.raises(DivergedError, match=r"step 2: loss/g_global, .*loss/d_local"):
        list(train(config, folders, seed=0, folder=tmp_path))


def test_a_training_that_breaks_down_leaves_its_curves_and_says_at_which_step(tiny, folders, tmp_path, monkeypatch):
    calls = itertools.count(1)

    def breaking(gan, batch):
        broken = {"loss/sfp_local": torch.tensor(math.inf)} if next(calls) == 25 else {}
        return {**take(gan, batch), **broken}

    monkeypatch.setattr("trials.train.step", breaking)
    training = train(tiny({"steps": 50, "evaluate_every": 22}), folders, seed=0, folder=tmp_path)
    first, last = next(training), next(training)
    with pytest.raises(DivergedError, match="step 25: loss/sfp_local became infinite"):
        next(training)
    assert (first.step, last.step) == (22, 25)
    assert (last.images, last.checkpoint, last.pictures) == ([], None, {})
    assert math.isfinite(last.metrics["loss/sfp_local"])
    assert [(event.step, event.kind, event.subject) for event in last.events] == [(25, "nonfinite", "losses")]


def test_weights_that_break_at_the_very_last_step_are_noticed(tiny, folders, tmp_path):
    config = tiny({"steps": 1, "optimiser.learning_rate": 1e38})
    with pytest.raises(DivergedError, match="step 1: the generator's output is not finite"):
        list(train(config, folders, seed=0, folder=tmp_path))


def test_a_checkpoint_of_another_seed_is_refused(tiny, folders, tmp_path):
    first = next(train(tiny(), folders, seed=0, folder=tmp_path))
    with pytest.raises(TrainError, match="belongs to another training: seed is 1, there 0"):
        next(train(tiny(), folders, seed=1, folder=tmp_path, resume=tmp_path / first.checkpoint))


def test_the_estimate_of_a_trials_time_grows_with_its_steps_and_evaluations(tiny, folders, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr("time.perf_counter", lambda: float(next(ticks)))  # each look at the clock takes a second
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert seconds(tiny({"steps": 10, "evaluate_every": 4}), folders, threads=1) == 1 + 10 * 1 + 3 * 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


GOLDEN = {
    "loss/generator": 3.22667631,
    "loss/g_global": 0.500665744,
    "loss/g_local": 1.05132802,
    "loss/sfp_global": 0.802091122,
    "loss/sfp_local": 0.872591337,
    "loss/d_global": 0.499447266,
    "loss/d_local": 0.526001374,
    "eval/psnr_db": 6.749991,
    "eval/luminance_error_levels": -74.6620577,
    "weights": 924.702988,
}


def test_the_numbers_of_a_fixed_training_have_not_moved(tiny, folders, tmp_path):
    *_, last = train(tiny({"steps": 3, "evaluate_every": 3}), folders, seed=0, folder=tmp_path)
    weights = sum(float(value.double().abs().sum()) for value in state(tmp_path / "generator.pt").values())
    found = {name: value for name, value in last.metrics.items() if name in GOLDEN} | {"weights": weights}
    assert found == pytest.approx(GOLDEN, rel=1e-4), "raise RESULTS_VERSION in trials/trainer.py"
