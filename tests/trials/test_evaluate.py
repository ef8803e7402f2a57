import numpy as np
import pytest
import torch

from trials import images
from trials.evaluate import enhance, evaluate
from trials.metrics import score
from trials.networks import Generator
from trials.progress import DivergedError
from trials.sets import EvaluationImage


def adding(value):
    """A generator that adds `value` to an image in [-1, 1]."""
    generator = Generator(1, attention=False)
    with torch.no_grad():
        generator["conv10"].weight.zero_()
        generator["conv10"].bias.fill_(value)
    return generator


def pixels(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_an_image_to_which_nothing_is_added_comes_back_unchanged():
    image = pixels(21, 30)
    assert (enhance(adding(0.0), image) == image).all()


@pytest.mark.parametrize(("levels", "added"), [(0.6, 1), (0.4, 0), (-0.6, -1), (30, 30)])
def test_the_output_is_rounded_to_the_nearest_level_and_clipped(levels, added):
    image = pixels(16, 16)
    expected = np.clip(image.astype(int) + added, 0, 255)
    assert (enhance(adding(levels / 127.5), image) == expected).all()


@pytest.mark.parametrize(("value", "level"), [(5.0, 255), (-5.0, 0)])
def test_values_beyond_the_range_are_clamped_not_wrapped(value, level):
    assert (enhance(adding(value), pixels(16, 16)) == level).all()


@pytest.mark.parametrize("mode", [True, False])
def test_evaluation_uses_running_statistics_and_leaves_the_generator_as_it_was(mode):
    torch.manual_seed(0)
    generator = Generator(2).train(mode)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    state = torch.get_rng_state()
    enhance(generator, pixels(20, 20))
    assert generator.training is mode
    assert all(torch.equal(before[name], value) for name, value in generator.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    generator.eval()
    with torch.no_grad():
        image = torch.from_numpy(pixels(32, 32)).permute(2, 0, 1)[None] / 127.5 - 1
        expected = ((generator(image).clamp(-1, 1) + 1) * 127.5).round()
    found = torch.from_numpy(enhance(generator.train(mode), pixels(32, 32))).permute(2, 0, 1)
    assert (found - expected[0]).abs().max() <= 1


def test_an_output_that_is_not_finite_is_a_divergence():
    with pytest.raises(DivergedError, match="output is not finite"):
        enhance(adding(float("nan")), pixels(16, 16))


def test_each_image_is_scored_against_its_reference_and_without_one_by_niqe_alone():
    paired = EvaluationImage("night", "a", "scene", pixels(20, 24), pixels(20, 24, seed=1))
    single = EvaluationImage("wild", "b", "b", pixels(200, 200), None)
    scores, pictures = evaluate(adding(0.0), [paired, single])
    assert [(one.set, one.image, one.scene) for one in scores] == [("night", "a", "scene"), ("wild", "b", "b")]
    np.testing.assert_equal(scores[0].metrics, score(paired.low, paired.normal))
    assert set(scores[1].metrics) == {"eval/niqe", "eval/niqe_flat_share"}
    assert pictures == {}


def test_enhanced_images_are_written_under_set_and_name(tmp_path):
    member = EvaluationImage("night", "a.b", "a", pixels(20, 24), None)
    _, pictures = evaluate(adding(0.1), [member], pictures=tmp_path)
    assert pictures == {"night/a.b": tmp_path / "night" / "a.b.png"}
    assert (images.read(pictures["night/a.b"]) == enhance(adding(0.1), member.low)).all()
