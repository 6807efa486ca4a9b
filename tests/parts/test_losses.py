"""A loss is a mapping of named, weighted terms; what is not finite is told by its name."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from anomalib_stc.parts.losses import Losses, Terms
from anomalib_stc.parts.window import Window, random_window


class Learnt(NamedTuple):
    reconstruction: Tensor
    window: Window


class Two(Losses):
    """The mean difference, and one that must not be asked for."""

    def terms(self, image: Tensor, learnt: Learnt, original: Tensor, rebuilt: Tensor) -> Terms:
        assert original.shape == rebuilt.shape == (1, 3, 64, 64)
        return {"pixel": lambda: (image - learnt.reconstruction).abs().mean(), "never": lambda: pytest.fail("computed")}


def learnt(value: float) -> tuple[Tensor, Learnt]:
    image = torch.zeros(1, 3, 128, 96)
    return image, Learnt(torch.full_like(image, value), random_window(image))


def test_terms_are_weighted_and_those_of_weight_zero_not_computed() -> None:
    terms = Two({"pixel": 0.5, "never": 0.0, "adversarial": 0.0})(*learnt(0.25))
    assert {name: term.item() for name, term in terms.items()} == {"pixel": 0.125}


def test_an_adversarial_weight_brings_both_players() -> None:
    assert set(Two({"pixel": 0.5, "never": 0.0, "adversarial": 0.1})(*learnt(0.25))) == {
        "pixel",
        "adversarial",
        "discriminator",
    }


def test_what_is_not_finite_is_told_by_its_name() -> None:
    with pytest.raises(ValueError, match=r"^Loss 'pixel' is nan, expected a finite number: lower learning_rate, .*\.$"):
        Two({"pixel": 0.5, "never": 0.0, "adversarial": 0.0})(*learnt(torch.nan))


@pytest.mark.parametrize("size", [(64, 64), (96, 128), (256, 80)])
def test_windows_lie_inside_and_are_half_the_side(size: tuple[int, int]) -> None:
    image = torch.zeros(2, 3, *size)
    for _ in range(20):
        shape = image[random_window(image)].shape
        assert shape[-2:] == tuple(max(64, side // 32 * 16) for side in size)
