"""Structural similarity as a residual, by closed forms."""

from collections.abc import Callable

import pytest
import torch
from kornia.metrics import ssim as kornia_ssim

from anomalib_stc.models.i3ad.similarity import WINDOW, dissimilarity, ssim
from tests.images import FLAT, made_images


def noise(seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(seed))


def test_an_image_is_like_itself() -> None:
    torch.testing.assert_close(dissimilarity(noise(), noise()), torch.zeros(2, 1, 32, 48), atol=1e-5, rtol=0)


def test_its_negative_is_the_opposite() -> None:
    """Of noise about mid-grey with no constants SSIM would be -1, the residual 1."""
    assert dissimilarity(noise(), 1 - noise()).mean().item() > 0.9


def test_of_constants_luminance_is_left() -> None:
    first, second = torch.full((1, 3, 16, 16), 0.2), torch.full((1, 3, 16, 16), 0.6)
    ssim = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    result = dissimilarity(first, second)
    assert result.mean().item() == pytest.approx((1 - ssim) / 2, abs=1e-4)
    assert result.std() < 1e-4, "also at the border"


@pytest.mark.parametrize("contrast", [0.01, 0.3, 1.0])
def test_it_is_kornias(contrast: float) -> None:
    first = 0.2 + 0.6 * noise().double() * contrast
    second = first + 0.2 * contrast * (noise(1).double() - 0.5)
    torch.testing.assert_close(ssim(first, second), kornia_ssim(first, second, WINDOW), rtol=0, atol=1e-6)


def test_it_is_rounded_less_where_structure_is_weak() -> None:
    """Single against double precision, on a bright and smooth texture: what an export may differ by."""
    first = 0.6 + 0.05 * noise()
    second = first + 0.05 * (noise(1) - 0.5)

    def rounding(measure: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> float:
        return (measure(first, second) - measure(first.double(), second.double())).abs().max().item()

    ours, theirs = rounding(ssim), rounding(lambda *images: kornia_ssim(*images, WINDOW))
    assert ours < 1e-5
    assert ours < theirs / 10


def test_mixed_precision_changes_nothing() -> None:
    first, second = noise(), noise(1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(dissimilarity(first, second), dissimilarity(first, second.double()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single_and_given_back(dtype: torch.dtype) -> None:
    first, second = noise().to(dtype), noise(1).to(dtype)
    found = dissimilarity(first, second)
    assert found.dtype == dtype
    assert torch.equal(found, dissimilarity(first.float(), second.float()).to(dtype))


@pytest.mark.parametrize("name", FLAT)
def test_arithmetic_of_half_precision_stays_finite(name: str) -> None:
    """A device that has no other: rounding must not make a variance negative, and a constant vanish."""
    image = made_images(name, (64, 64))
    for other in (image, 1 - image, image / 2, noise()[:1, :, :1, :1].expand_as(image)):
        for one, two in ((image, other), (other, image)):
            found = ssim(one.half(), two.half())
            assert found.isfinite().all()
            assert -1.1 < found.min() <= found.max() < 1.1
