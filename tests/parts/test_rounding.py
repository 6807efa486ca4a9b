"""Roots and lengths stay finite where there is nothing, also in half precision, and are exact elsewhere."""

import pytest
import torch

from anomalib_stc.parts.rounding import EPSILON, root, unit


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_nothing_is_finite_in_every_precision(dtype: torch.dtype) -> None:
    nothing = torch.zeros(1, 4, 2, 2, dtype=dtype)
    assert torch.tensor(EPSILON, dtype=dtype) >= torch.finfo(torch.float16).tiny
    assert (1 / root(nothing)).isfinite().all()
    assert torch.equal(unit(nothing), nothing)


def test_what_is_not_small_is_exact() -> None:
    assert root(torch.tensor([0.0, EPSILON, 0.25])).tolist() == pytest.approx([EPSILON**0.5, EPSILON**0.5, 0.5])
    torch.testing.assert_close(unit(torch.tensor([[3.0, 4.0]])), torch.tensor([[0.6, 0.8]]))


def test_the_gradient_of_nothing_is_finite() -> None:
    nothing = torch.zeros(1, 4, requires_grad=True)
    (root(nothing.square().sum()) + unit(nothing).sum()).backward()
    assert nothing.grad.isfinite().all()
