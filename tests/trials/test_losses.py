import pytest
import torch
from torch.nn import functional

from tests.trials import official
from trials.losses import discriminator_loss, feature_loss, generator_loss

RELATIVISTIC, SQUARES = "relativistic_least_squares", "least_squares"


def grouped(*scores):
    return torch.tensor([scores], dtype=torch.float32)  # one group


@pytest.mark.parametrize(
    ("kind", "figures"),
    [
        (RELATIVISTIC, "relativistic least squares, D and G, real scores noise(18,901), fake scores noise(18,902)"),
        (SQUARES, "least squares local, D and G, same scores"),
    ],
)
def test_adversarial_losses_are_the_official_ones(kind, figures):
    real, fake = (torch.from_numpy(official.noise(18, number)).reshape(1, 2, 1, 3, 3) for number in (901, 902))
    found = [float(discriminator_loss(kind, real, fake)), float(generator_loss(kind, real, fake))]
    assert found == pytest.approx(official.FIGURES[figures], abs=1e-6)


def test_relativistic_losses_by_hand():
    real, fake = grouped(1, 3), grouped(0, 2)  # means 2 and 1
    # real - mean(fake): 0, 2; fake - mean(real): -2, 0
    assert float(discriminator_loss(RELATIVISTIC, real, fake)) == pytest.approx(((1 + 1) / 2 + (4 + 0) / 2) / 2)
    assert float(generator_loss(RELATIVISTIC, real, fake)) == pytest.approx(((9 + 1) / 2 + (0 + 4) / 2) / 2)


def test_least_squares_losses_by_hand():
    real, fake = grouped(1, 3), grouped(0, 2)
    assert float(discriminator_loss(SQUARES, real, fake)) == pytest.approx(((0 + 4) / 2 + (0 + 4) / 2) / 2)
    assert float(generator_loss(SQUARES, real, fake)) == pytest.approx((1 + 1) / 2)  # no half


def test_scores_that_cannot_tell_cost_half_and_a_quarter():
    relativistic, squares = grouped(0.3, 0.3), grouped(0.5, 0.5)
    assert float(discriminator_loss(RELATIVISTIC, relativistic, relativistic)) == pytest.approx(0.5)
    assert float(discriminator_loss(SQUARES, squares, squares)) == pytest.approx(0.25)


@pytest.mark.parametrize("loss", [discriminator_loss, generator_loss])
def test_patches_at_each_offset_are_judged_relative_to_their_own_mean(loss):
    real, fake = torch.randn(3, 4, 1, 2, 2), torch.randn(3, 4, 1, 2, 2)
    apart = [loss(RELATIVISTIC, real[i : i + 1], fake[i : i + 1]) for i in range(3)]
    assert float(loss(RELATIVISTIC, real, fake)) == pytest.approx(float(sum(apart)) / 3, rel=1e-5)


def test_the_relativistic_generator_loss_descends_by_both_of_its_halves():
    real, fake = grouped(1, 3), grouped(0, 2).requires_grad_()
    generator_loss(RELATIVISTIC, real, fake).backward()
    # d/df_j of (mean_i (r_i - m_f)^2 + mean_i (f_i - m_r - 1)^2) / 2, with m_f = 1, m_r = 2
    assert fake.grad.flatten().tolist() == pytest.approx([-1 / 2 + -3 / 2, -1 / 2 + -1 / 2])


def test_the_feature_loss_is_a_mean_square_of_normalised_features_by_hand():
    features, target = torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[6.0, 2.0]]]])  # to -1, 1 and 1, -1
    assert float(feature_loss(features, target, instance_norm=True)) == pytest.approx(4, rel=1e-4)
    assert float(feature_loss(features, target, instance_norm=False)) == pytest.approx((25 + 1) / 2)


@pytest.mark.parametrize("level", [0.0, 100.0])
def test_the_feature_loss_and_its_gradient_are_those_of_instance_norm_and_mean_square(level):
    features = (torch.randn(2, 3, 5, 7).relu() + level).requires_grad_()
    target = torch.randn(2, 3, 5, 7)
    expected = functional.mse_loss(functional.instance_norm(features), functional.instance_norm(target))
    (gradient,) = torch.autograd.grad(expected, features)
    found = feature_loss(features, target, instance_norm=True)
    found.backward()
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)
    assert torch.allclose(features.grad, gradient, rtol=1e-3, atol=1e-6)


def test_features_without_any_contrast_give_a_finite_loss():
    features = torch.full((1, 2, 8, 8), 137.3, requires_grad=True)
    loss = feature_loss(features, torch.randn(1, 2, 8, 8), instance_norm=True)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(1, abs=0.01)
    assert features.grad.isfinite().all()


def test_with_instance_norm_the_feature_loss_does_not_see_brightness_or_contrast():
    target = torch.rand(2, 3, 8, 8)
    assert float(feature_loss(5 * target + 2, target, instance_norm=True)) == pytest.approx(0, abs=1e-6)
