from types import SimpleNamespace

import pytest
import torch

from trials import config, cost
from trials.cost import inference_ms, parameters_m
from trials.networks import Generator
from trials.trainer import METRICS


def test_the_published_generator_has_as_many_parameters_as_its_layers_add_up_to():
    # By hand: 3 x 3 convolutions (inputs x outputs x 9 + outputs), two numbers of batch norm for each channel but after
    # the last one, 1 x 1 to RGB. The literature gives EnlightenGAN 8.64 million.
    widths, inputs, count = [32, 64, 128, 256, 512], 4, 0
    for outputs in widths:
        count += inputs * outputs * 9 + outputs + outputs * outputs * 9 + outputs + 4 * outputs
        inputs = outputs
    for outputs in (256, 128, 64, 32):
        count += inputs * outputs * 9 + outputs  # deconv
        count += inputs * outputs * 9 + outputs + outputs * outputs * 9 + outputs + 4 * outputs
        inputs = outputs
    count += -2 * 32 + 32 * 3 + 3
    assert round(1e6 * parameters_m(Generator())) == count
    assert parameters_m(Generator()) == pytest.approx(8.64, abs=0.005)


def test_without_the_attention_channel_there_are_fewer_by_its_weights():
    plain = config.Generator(attention="none")
    assert 1e6 * (parameters_m(Generator()) - parameters_m(Generator(plain))) == pytest.approx(32 * 9)


@pytest.mark.parametrize("training", [True, False])
def test_timing_takes_the_size_that_is_stated_and_leaves_the_generator_as_it_was(monkeypatch, training):
    generator = Generator(config.Generator(width=2, depth=1)).train(training)
    seen, before = [], {name: value.clone() for name, value in generator.state_dict().items()}
    original = Generator.forward
    monkeypatch.setattr(
        Generator, "forward", lambda self, x: (seen.append((x.shape, self.training)), original(self, x))[1]
    )
    state = torch.get_rng_state()
    assert inference_ms(generator) > 0
    assert seen == [((1, 3, 256, 256), False)] * (cost.PASSES + 1)
    assert generator.training is training
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_it_is_the_fastest_pass_and_the_first_one_does_not_count(monkeypatch):
    generator = Generator(config.Generator(width=2, depth=1))
    lasts = iter([0.001, 0.5, 0.4, 0.25, 0.3, 0.6])  # seconds; the first is the warm-up
    clock, ticks = [0.0], [0]

    def now():
        ticks[0] += 1
        if ticks[0] % 2 == 0:
            clock[0] += next(lasts)
        return clock[0]

    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=now))
    assert inference_ms(generator) == pytest.approx(250)


def test_the_metrics_title_states_the_size_that_is_timed():
    (title,) = [metric.title for metric in METRICS if metric.key == "time/inference_ms"]
    assert f"{cost.SIDE_PX} x {cost.SIDE_PX} px" in title
