"""A codebook by closed forms, and on features of a few clusters."""

import math

import pytest
import torch
from torch.nn import functional as F

from anomalib_stc.parts.codebook import Codebook

AXES = torch.eye(3)


def axes(sharpness: float = 20.0) -> Codebook:
    book = Codebook(3, 3, sharpness)
    book.items.copy_(AXES)
    return book


def at(vector: list[float]) -> torch.Tensor:
    return torch.tensor(vector)[None, :, None, None]


def test_a_certain_guess_leaves_the_angle() -> None:
    certain = at([1e4, 0.0, 0.0])
    assert axes()(certain, at([5.0, 0.0, 0.0])).item() == pytest.approx(0, abs=1e-6)
    assert axes()(certain, at([0.0, 1.0, 0.0])).item() == pytest.approx(1)
    assert axes()(certain, at([1.0, 1.0, 0.0])).item() == pytest.approx(1 - 0.5**0.5)


def test_an_open_guess_costs_the_logarithm_of_its_share() -> None:
    residual = axes(sharpness=1e3)(at([0.0, 0.0, 0.0]), at([1.0, 0.0, 0.0]))
    assert residual.item() == pytest.approx(math.log(3) / 1e3, rel=1e-4)


def test_it_fills_with_clusters_and_their_frequency() -> None:
    torch.manual_seed(0)
    label = torch.tensor([0] * 600 + [1] * 300 + [2] * 100)
    points = AXES[label] + 0.01 * torch.randn(1000, 3)
    book = Codebook(3, 3, 20.0)
    book.fit([points.T.reshape(1, 3, 10, 100)], seed=0)
    assert (F.normalize(book.items, dim=1) @ AXES).amax(0).min() > 0.999
    assert sorted(book.frequency.tolist()) == pytest.approx([0.1, 0.3, 0.6], abs=0.01)
    assert book.frequency.sum().item() == pytest.approx(1)


def test_fewer_positions_than_items_are_repeated() -> None:
    """Every position is an item, each as frequent as it is repeated."""
    book, positions = Codebook(9, 3, 20.0), torch.rand(1, 3, 2, 2)
    book.fit([positions], seed=0)
    nearest = book.items @ F.normalize(positions, dim=1).flatten(2)[0]
    torch.testing.assert_close(nearest.amax(0), torch.ones(4))
    torch.testing.assert_close(book.items.norm(dim=1), torch.ones(9))
    assert book.frequency.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("arguments", [(1, 3, 20.0), (2.5, 3, 20.0), (3, 3, 0.0), (3, 3, math.nan), (3, 3, math.inf)])
def test_a_wrong_argument_is_one_sentence(arguments: tuple) -> None:
    with pytest.raises(ValueError, match=r"^Codebook's .* expected .*\.$"):
        Codebook(*arguments)


def test_gradient() -> None:
    book = axes().double()
    logits, features = (torch.rand(1, 3, 2, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(book, (logits, features))
