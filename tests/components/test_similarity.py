"""Structural similarity as a residual, by closed forms."""

import pytest
import torch

from anomalib_stc.components.similarity import dissimilarity


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
