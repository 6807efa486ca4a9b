"""Rarity is the negative logarithm of the share of normal residuals above, by closed forms."""

from math import log
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from anomalib_stc.parts.tail import BODY, HEAVY, KNOTS, STEP, fitted, rarity
from tests.parts.exported import assert_exports_agree

LAST = STEP * (KNOTS - 1)  # rarity where the tail begins


def pareto(count: int = 200_000) -> Tensor:
    """Quantiles of a distribution whose tail is the one that is assumed."""
    return (1 - (torch.arange(count) + 0.5) / count).pow(-1 / HEAVY) - 1


def noise(*shape: int) -> Tensor:
    """Residuals whose density is not constant."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)).square()


def at(values: Tensor) -> Tensor:
    """Values (n,) as a residual map."""
    return values.reshape(1, 1, 1, -1)


def test_of_pareto_residuals_it_is_the_logarithm_of_the_share_above_everywhere() -> None:
    residual = at(torch.linspace(0, 10, 200))
    torch.testing.assert_close(rarity(residual, fitted(pareto())), HEAVY * (1 + residual).log(), atol=0.02, rtol=0.02)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.97])
def test_at_a_quantile_it_is_the_logarithm_of_the_share_above(share: float) -> None:
    normals = noise(4, 1, 60, 50)
    residual = at(normals.quantile(share))
    assert rarity(residual, fitted(normals)).item() == pytest.approx(-log(1 - share), abs=0.02)


def test_knots_are_quantiles_at_even_steps() -> None:
    normals = noise(5000)
    curve = fitted(normals)
    shares = 1 - torch.exp(-STEP * torch.arange(KNOTS))
    torch.testing.assert_close(curve[:KNOTS], normals.quantile(shares))
    assert shares[-1].item() == pytest.approx(BODY)
    torch.testing.assert_close(rarity(at(curve[:KNOTS]), curve), at(STEP * torch.arange(KNOTS)), atol=1e-4, rtol=1e-4)


def test_it_begins_with_nothing_and_never_falls() -> None:
    normals = noise(5000)
    curve = fitted(normals)
    assert rarity(at(torch.stack([normals.min(), torch.tensor(-1.0)])), curve).abs().max() == 0
    found = rarity(at(torch.linspace(0, 3, 2000)), curve).flatten()
    assert (found.diff() > 0).all()


def test_beyond_the_last_knot_it_rises_ever_more_slowly() -> None:
    """Continuous there; a heavy tail takes far residuals for less rare than an exponential one."""
    curve = fitted(noise(5000))
    last, excess = curve[-2:]
    beyond = noise(5000)[noise(5000) > last]
    torch.testing.assert_close(excess, (beyond - last).mean())
    near = rarity(at(torch.stack([last - 1e-5, last, last + 1e-5])), curve)
    torch.testing.assert_close(near, torch.full_like(near, LAST), atol=0.01, rtol=0)
    steps = torch.tensor([0.0, 1.0, 2.0, 50.0])
    far = rarity(at(last + excess * steps), curve).flatten()
    assert far[1].item() == pytest.approx(LAST + HEAVY * log(1 + 1 / (HEAVY - 1)), abs=1e-4)
    assert (far - LAST < steps + 0.2).all()
    assert (far.diff() / steps.diff()).diff().max() < 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("normals", [torch.zeros(1), torch.zeros(500), torch.full((500,), 0.3)])
def test_equal_residuals_are_common_and_all_above_are_rare(normals: Tensor, dtype: torch.dtype) -> None:
    """Also where half precision ends."""
    most = torch.tensor(60_000.0, dtype=dtype)
    found = rarity(at(torch.stack([normals[0].to(dtype), most])), fitted(normals).to(dtype)).flatten()
    assert found.isfinite().all()
    assert found[0] == 0
    assert found[1] > LAST


def test_many_equal_ones_among_others() -> None:
    """What hides nothing has residuals of zero, most of them."""
    curve = fitted(torch.cat([torch.zeros(900), 1 + noise(100)]))
    found = rarity(at(torch.tensor([0.0, 1.0, 2.0])), curve).flatten()
    assert found[0] == 0
    assert found[1].item() == pytest.approx(log(10), abs=STEP)
    assert found[2] > LAST


def test_half_precision_is_near() -> None:
    normals = noise(5000)
    residual = at(torch.linspace(0, 2, 100))
    found = rarity(residual.half(), fitted(normals).half())
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float(), rarity(residual, fitted(normals)), atol=0.1, rtol=0.02)
    assert fitted(normals.half()).dtype == torch.float16


class OfRed(nn.Module):
    """Rarity of the red channel of an image, beyond the last knot in most places."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("curve", fitted(noise(5000)[:50] / 2))

    def forward(self, image: Tensor) -> Tensor:
        return rarity(image[:, :1], self.curve)


def test_exports_agree(tmp_path: Path) -> None:
    assert_exports_agree(OfRed(), torch.rand(2, 3, 24, 32), tmp_path)
