"""The patch discriminator judges patches, and can be passed through without touching it."""

import pickle

import pytest
import torch

from anomalib_stc.parts.discriminator import PatchDiscriminator


def images(batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 3, 32, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def discriminator() -> PatchDiscriminator:
    torch.manual_seed(0)
    return PatchDiscriminator((4, 8, 8)).eval()


@pytest.mark.parametrize("widths", [(4,), (4, 8), (4, 8, 8)])
def test_one_logit_a_patch(widths: tuple[int, ...]) -> None:
    cell = 2 ** len(widths)
    assert PatchDiscriminator(widths)(images()).shape == (2, 1, 32 // cell, 48 // cell)


def test_frozen_gives_the_same_numbers(discriminator: PatchDiscriminator) -> None:
    assert torch.equal(discriminator.frozen(images()), discriminator(images()))


def test_frozen_gives_gradient_to_the_image_only(discriminator: PatchDiscriminator) -> None:
    image = images().requires_grad_()
    discriminator.frozen(image).sum().backward()
    assert image.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in discriminator.parameters())
    assert all(weight.requires_grad for weight in discriminator.parameters())


def test_gradient_of_the_image_is_that_of_a_plain_pass(discriminator: PatchDiscriminator) -> None:
    gradients = []
    for judge in (discriminator, discriminator.frozen):
        image = images().requires_grad_()
        judge(image).square().sum().backward()
        gradients.append(image.grad)
    torch.testing.assert_close(*gradients)


def test_both_players_in_one_pass_get_their_own_gradient_only() -> None:
    """In training the power iteration runs on at every call: one backward pass must bear that."""
    torch.manual_seed(0)
    discriminator = PatchDiscriminator((4, 8)).train()
    image = images().requires_grad_()
    own = (discriminator(images()) - 1).square().mean() + discriminator(image.detach()).square().mean()
    expected = torch.autograd.grad(own, list(discriminator.parameters()), retain_graph=True)
    (own + (discriminator.frozen(image) - 1).square().mean()).backward()
    for weight, gradient in zip(discriminator.parameters(), expected, strict=True):
        torch.testing.assert_close(weight.grad, gradient)
    assert image.grad.abs().sum() > 0


def test_every_layer_has_spectral_norm_one() -> None:
    torch.manual_seed(0)
    discriminator = PatchDiscriminator((4, 8)).train()
    for _ in range(100):
        discriminator(images(1))
    convolutions = [layer for layer in discriminator.eval().layers if isinstance(layer, torch.nn.Conv2d)]
    assert len(convolutions) == 3
    for layer in convolutions:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=1e-2)


def test_a_pickle_is_whole_and_leaves_the_random_state_alone() -> None:
    player = PatchDiscriminator((4, 8), bias=False).eval()
    image = torch.rand(1, 3, 32, 32)
    state = torch.random.get_rng_state()
    copied = pickle.loads(pickle.dumps(player))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(copied(image), player(image))
    assert not copied.training
    assert copied.layers[-1].bias is None
