"""The parts of I3AD alone: adaptive mask, losses, illumination."""

import math

import pytest
import torch
from torch import Tensor

from anomalib_stc.models.i3ad.adaptive_mask import AdaptiveMask, cell_means
from anomalib_stc.models.i3ad.inpainting import Filled, Inpainting, colour_error, composite, illumination
from anomalib_stc.models.i3ad.loss import I3adLoss, laplace, weighted_l1, weighted_mean
from anomalib_stc.models.i3ad.torch_model import Learnt
from anomalib_stc.parts.discriminator import HINGE, PatchDiscriminator, adversarial_losses
from anomalib_stc.parts.features import GRID_STRIDE
from anomalib_stc.parts.window import random_window

WEIGHTS = {"masked": 1.0, "unmasked": 0.1, "similarity": 0.5, "feature": 1.0, "doubt": 0.1, "adversarial": 0.0}


def one_hot(row: int, column: int, value: float = 1.0) -> Tensor:
    """Residuals (1, 1, 8, 8) with one suspicious cell."""
    cells = torch.zeros(1, 1, 8, 8)
    cells[..., row, column] = value
    return cells


@pytest.mark.parametrize(("dilation", "cells"), [(0, 1), (1, 9), (2, 25)])
def test_a_suspicious_cell_is_hidden_with_its_neighbours(dilation: int, cells: int) -> None:
    mask = AdaptiveMask(0.9, dilation, 0.5)
    mask.threshold.fill_(0.5)
    hidden = mask(one_hot(3, 4))
    assert hidden.sum() == cells * GRID_STRIDE**2
    assert hidden[..., 3 * GRID_STRIDE, 4 * GRID_STRIDE] == 1
    assert mask(one_hot(3, 4, 0.4)).sum() == 0


def test_the_cap_leaves_the_highest() -> None:
    mask = AdaptiveMask(0.9, 0, 0.25)
    ramp = torch.arange(64.0).reshape(1, 1, 8, 8)
    hidden = mask(ramp)
    assert hidden.shape == (1, 1, 64, 64)
    assert hidden.mean() == 0.25
    assert torch.equal(cell_means(hidden), (ramp >= 48).float())


@torch.no_grad()
def test_a_cap_that_would_leave_nothing_to_hide_is_one_sentence() -> None:
    """One of 8 x 8 cells and its neighbours are 9; of as many a cap of .14 hides 8, of .15 nine."""
    assert AdaptiveMask(0.9, 1, 0.15)(one_hot(3, 4)).sum() == 9 * GRID_STRIDE**2
    AdaptiveMask(0.9, 1, 0.15).check_size((64, 64))
    small = AdaptiveMask(0.9, 1, 0.14)
    for ask in (lambda: small(one_hot(3, 4)), lambda: small.check_size((64, 64))):
        with pytest.raises(
            ValueError, match=r"^Mask dilation came as 1, expected a cell and its .* at most 8 cells\.$"
        ):
            ask()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        *[({"normal": share}, "Mask quantile came as .*, expected a share") for share in (0.0, 1.0, 2.0, math.nan)],
        *[({"area": share}, "Mask cap came as .*, expected a share") for share in (0.0, 1.0, -1.0, math.nan)],
        *[({"dilation": cells}, "Mask dilation came as .*, expected a whole number") for cells in (-1, 0.5, math.nan)],
    ],
)
def test_a_mask_of_wrong_arguments_is_one_sentence(arguments: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        AdaptiveMask(**arguments)


@pytest.mark.parametrize("arguments", [{"widths": (1, 2)}, {"widths": (1, 2, 0)}, {"dilations": (1, 0)}])
def test_a_network_of_wrong_arguments_is_one_sentence(arguments: dict) -> None:
    with pytest.raises(ValueError, match=r"^(Widths|Dilations) came as .*, expected (three )?numbers"):
        Inpainting(4, **arguments)


def test_images_of_a_batch_do_not_share_the_cap() -> None:
    mask = AdaptiveMask(0.9, 1, 0.5)
    mask.threshold.fill_(0.5)
    both = torch.cat([one_hot(1, 1), 5 + torch.rand(1, 1, 8, 8)])
    assert torch.equal(mask(both)[:1], mask(both[:1]))


def test_the_threshold_is_the_quantile_of_cells() -> None:
    mask = AdaptiveMask(0.75, 0, 0.5)
    residual = torch.cat([one_hot(0, column, column / 10) for column in range(1, 5)])
    mask.calibrate(residual)
    cells = torch.zeros(4 * 64)
    cells[:4] = torch.tensor([0.1, 0.2, 0.3, 0.4])
    assert mask.threshold.item() == pytest.approx(torch.quantile(cells, 0.75).item())


def test_hinge_losses_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    player = PatchDiscriminator()
    monkeypatch.setattr(player, "forward", lambda image: image.mean((1, 2, 3)))
    monkeypatch.setattr(player, "frozen", lambda image: image.mean((1, 2, 3)))
    real, fake = torch.full((1, 3, 8, 8), 0.25), torch.full((1, 3, 8, 8), -2.0)
    terms = adversarial_losses(player, 0.1, real, fake, HINGE)
    assert terms["adversarial"].item() == pytest.approx(0.2)
    assert terms["discriminator"].item() == pytest.approx(0.375), "what is beyond the margin costs nothing"


def test_hinge_losses_leave_each_other_alone() -> None:
    player = PatchDiscriminator(bias=False)
    fake = torch.rand(2, 3, 64, 64, requires_grad=True)
    terms = adversarial_losses(player, 1.0, torch.rand(2, 3, 64, 64), fake, HINGE)
    terms["adversarial"].backward()
    assert all(parameter.grad is None for parameter in player.parameters())
    before = fake.grad.clone()
    terms["discriminator"].backward()
    assert torch.equal(fake.grad, before)
    assert all(parameter.grad.abs().sum() > 0 for parameter in player.parameters())


def test_losses_by_hand() -> None:
    """Left half hidden and filled .5 too bright, right half said .25 too bright."""
    image = torch.full((1, 3, 64, 64), 0.25)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 1
    said = image + 0.25 + 0.25 * mask
    doubt = torch.full((1, 1, 8, 8), math.log(0.5))
    unlikely = torch.where(torch.arange(8) < 4, 2.0, 1.0).expand(1, 1, 8, 8)
    filled = Filled(said, torch.zeros(1, 4, 8, 8), doubt)
    learnt = Learnt(mask, filled, unlikely, composite(image, mask, said), random_window(image))
    terms = I3adLoss(WEIGHTS)(image, learnt)
    assert set(terms) == set(WEIGHTS) - {"adversarial"}
    assert terms["masked"].item() == pytest.approx(0.5)
    assert terms["unmasked"].item() == pytest.approx(0.1 * 0.25)
    assert terms["feature"].item() == pytest.approx((2 + 0.1) / 1.1)
    assert terms["doubt"].item() == pytest.approx(0.1 * (1 + math.log(0.5)), abs=1e-3)
    fewer = I3adLoss({**WEIGHTS, "similarity": 0.0})(image, learnt)
    assert set(fewer) == {"masked", "unmasked", "feature", "doubt"}


def test_nothing_hidden_costs_nothing() -> None:
    image = torch.rand(1, 3, 8, 8)
    assert weighted_l1(image, 1 - image, torch.zeros(1, 1, 8, 8)) == 0
    assert weighted_mean(image[:, :1], torch.zeros(1, 1, 8, 8)) == 0


def test_the_best_doubt_is_the_logarithm_of_the_error() -> None:
    error = torch.tensor(0.2)
    doubts = torch.linspace(-4, 1, 501)
    best = doubts[laplace(error, doubts).argmin()]
    assert best.item() == pytest.approx(math.log(0.2), abs=0.02)


def test_colour_error_is_a_mean_over_cells() -> None:
    other = one_hot(1, 2).repeat_interleave(GRID_STRIDE, 2).repeat_interleave(GRID_STRIDE, 3).expand(1, 3, 64, 64)
    error = colour_error(torch.zeros(1, 3, 64, 64), other)
    assert error.shape == (1, 1, 8, 8)
    assert error[0, 0, 1, 2] == error.sum() == 1


def test_illumination_is_of_what_is_seen() -> None:
    """A constant stays that constant, however much of it is hidden; nothing seen is black, not undefined."""
    image = torch.full((1, 3, 64, 64), 0.7)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :48, :] = 1
    around = illumination(image * (1 - mask), mask)
    torch.testing.assert_close(around, image, rtol=1e-3, atol=1e-3)
    assert torch.equal(illumination(torch.zeros_like(image), torch.ones_like(mask)), torch.zeros_like(image))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_illumination_far_from_all_that_is_seen_survives_half_precision(dtype: torch.dtype) -> None:
    """Only a strip at the left is seen, so that most places take the mean of everything, whose weight is the least."""
    image = torch.full((1, 3, 64, 1024), 0.3)
    mask = torch.ones(1, 1, 64, 1024)
    mask[..., :16] = 0
    expected = illumination(image * (1 - mask), mask)
    found = illumination((image * (1 - mask)).to(dtype), mask.to(dtype))
    torch.testing.assert_close(found.float(), expected, atol=2e-3, rtol=0)
    torch.testing.assert_close(expected, image, atol=1e-4, rtol=0)
