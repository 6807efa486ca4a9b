"""Masks by their area, their determinism and their coverage; complementary grids by counting."""

from math import nan

import pytest
import torch

from anomalib_stc.models.i3ad.training_masks import TrainingMasks, complementary, strokes


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def drawn(masks: TrainingMasks, count: int = 200, size: tuple[int, int] = (64, 96)) -> torch.Tensor:
    return masks(torch.zeros(count, 3, *size))


def test_masks_are_binary_and_of_the_images_size() -> None:
    masks = drawn(TrainingMasks(), 8)
    assert masks.shape == (8, 1, 64, 96)
    assert set(masks.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("area", [(0.1, 0.6), (0.3, 0.3)])
def test_area_is_in_its_range_and_fills_it(area: tuple[float, float]) -> None:
    shares = drawn(TrainingMasks(area, cells=(4, 16))).mean((1, 2, 3))
    assert area[0] - 0.03 <= shares.min()  # half a cell of 16 x 16 pixels is 0.02 of the image
    assert shares.max() <= area[1] + 0.03
    assert shares.mean().item() == pytest.approx(sum(area) / 2, abs=0.03)
    if area[0] < area[1]:
        assert shares.std().item() == pytest.approx((area[1] - area[0]) / 12**0.5, abs=0.03)


@pytest.mark.parametrize("share", [0.1, 0.35, 0.6])
def test_strokes_stop_at_their_share(share: float) -> None:
    for _ in range(10):
        assert share <= strokes(96, 64, share).mean() <= share + 0.02


def test_every_pixel_is_hidden_now_and_then() -> None:
    frequency = drawn(TrainingMasks(), 400).mean(0)
    assert frequency.min() > 0.15
    assert frequency.max() < 0.6


def test_both_kinds_are_drawn() -> None:
    """A grid's edges are straight: whole rows of a cell are equal."""
    masks = drawn(TrainingMasks(cells=(16, 16)), 100)
    straight = [(mask[0].diff(dim=1) != 0).sum(0).count_nonzero() <= 96 / 16 for mask in masks]
    assert 30 <= sum(straight) <= 70


def test_the_same_seed_draws_the_same() -> None:
    first = drawn(TrainingMasks(), 6)
    torch.manual_seed(0)
    assert torch.equal(first, drawn(TrainingMasks(), 6))


@pytest.mark.parametrize(("count", "cell"), [(2, 8), (3, 16), (4, 5)])
def test_complementary_masks_hide_every_pixel_once(count: int, cell: int) -> None:
    masks = complementary(64, 80, count, cell)
    assert masks.shape == (count, 1, 64, 80)
    assert torch.equal(masks.sum(0), torch.ones(1, 64, 80))
    assert (masks.mean((1, 2, 3)) - 1 / count).abs().max() < 0.1


@pytest.mark.parametrize(
    "arguments",
    [{"area": (0.6, 0.1)}, {"area": (0.0, 0.5)}, {"cells": (16, 8)}, {"cells": (0, 8)}, {"area": (0.1, nan)}],
)
def test_a_wrong_range_is_one_sentence(arguments: dict) -> None:
    with pytest.raises(
        ValueError, match=r"^(Area of masks is|Cells of masks are) .*, expected least and largest .*\.$"
    ):
        TrainingMasks(**arguments)
