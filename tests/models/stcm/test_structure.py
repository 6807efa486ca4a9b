"""Soft Canny finds Canny's edges, is smooth in the image, and survives export."""

import math
from pathlib import Path

import pytest
import torch
from kornia.filters import Canny, get_gaussian_kernel1d, spatial_gradient
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import to_tensor

from anomalib_stc.models.stcm.structure import LUMA, SoftCanny, gradient_kernels
from tests.images import FLAT, made_images
from tests.parts.exported import assert_exports_agree

# Lowest F-score with one pixel of tolerance; measured are 0.80, 0.72, 0.98, 0.94 and 0.77, 0.85, 0.97, 0.93.
FLOORS = {
    ("mt-small", 2): 0.77,
    ("crackforest-small", 2): 0.69,
    ("lgg-small", 2): 0.95,
    ("idrid-small", 2): 0.91,
    ("mt-small", 1): 0.74,
    ("crackforest-small", 1): 0.82,
    ("lgg-small", 1): 0.94,
    ("idrid-small", 1): 0.9,
}


def step(side: int = 32, vertical: bool = True) -> Tensor:
    """A dark and a bright half, meeting in the middle."""
    image = torch.zeros(1, 3, side, side)
    image[..., side // 2 :] = 1.0
    return image if vertical else image.transpose(-1, -2)


def dilate(edges: Tensor) -> Tensor:
    return F.max_pool2d(edges.float(), 3, 1, 1) > 0


def f_score(found: list[Tensor], wanted: list[Tensor]) -> float:
    """F-score of edges, each forgiven one pixel."""
    precise = sum((a & dilate(b)).sum() for a, b in zip(found, wanted, strict=True)) / sum(a.sum() for a in found)
    recalled = sum((b & dilate(a)).sum() for a, b in zip(found, wanted, strict=True)) / sum(b.sum() for b in wanted)
    return float(2 * precise * recalled / (precise + recalled))


@pytest.mark.parametrize(("name", "stride"), FLOORS)
def test_edges_are_those_of_canny(data_root, name: str, stride: int) -> None:
    files = sorted((data_root(name) / name / "train" / "good").iterdir())[:8]
    images = [to_tensor(Image.open(file).convert("RGB"))[None] for file in files]
    canny, soft = Canny(0.1, 0.2, (5, 5), (1.0, 1.0)), SoftCanny(stride=stride)
    wanted = [canny(F.avg_pool2d(image, stride))[1] > 0 for image in images]
    assert f_score([soft(image) > 0.25 for image in images], wanted) > FLOORS[name, stride]


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_gradient_is_gaussian_then_sobel(sigma: float) -> None:
    """Away from the border, where the two passes pad differently."""
    grey = torch.rand(2, 1, 24, 20, generator=torch.Generator().manual_seed(0))
    side = 2 * max(1, round(2 * sigma)) + 1
    gaussian = get_gaussian_kernel1d(side, sigma)[0]
    blurred = F.conv2d(F.pad(grey, (side // 2,) * 4, mode="replicate"), torch.outer(gaussian, gaussian)[None, None])
    expected = spatial_gradient(blurred, normalized=False)[:, 0]
    inner = (..., slice(side, -side), slice(side, -side))
    torch.testing.assert_close(SoftCanny(sigma).gradient(grey)[inner], expected[inner], atol=1e-5, rtol=0)


def test_kernels_measure_a_ramp() -> None:
    """Sobel's kernel gives eight times the slope."""
    column, row = gradient_kernels(1.0)
    assert column.shape[2:] == row.shape[2:][::-1] == (7, 1)
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)
    gradient = SoftCanny().gradient(ramp)[..., 8, 8].flatten()
    torch.testing.assert_close(gradient, torch.tensor([8.0, 0.0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("vertical", [True, False])
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_step_is_a_thin_line_and_nothing_else(stride: int, vertical: bool) -> None:
    edges = SoftCanny(stride=stride)(step(vertical=vertical))
    assert edges.shape == (1, 1, 32 // stride, 32 // stride)
    profile = (edges if vertical else edges.transpose(-1, -2))[0, 0].amax(0)
    middle = 16 // stride
    assert profile[middle - 1 : middle + 1].min() > 0.4
    assert torch.cat([profile[: middle - 2], profile[middle + 2 :]]).max() < 0.02


def test_both_sides_of_a_step_are_alike() -> None:
    soft = SoftCanny()
    torch.testing.assert_close(soft(step().flip(-1)), soft(step()).flip(-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(soft(1 - step()), soft(step()), atol=1e-5, rtol=0)
    torch.testing.assert_close(soft(step(vertical=False)), soft(step()).transpose(-1, -2), atol=1e-5, rtol=0)


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_a_constant_image_has_no_edges(value: float) -> None:
    assert SoftCanny()(torch.full((1, 3, 16, 16), value)).max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("stride", [1, 2])
def test_half_precision_is_finite_up_to_the_strongest_edge(stride: int, dtype: torch.dtype) -> None:
    """The fourth power of the strongest gradient between black and white, over the threshold's, is still a number."""
    soft = SoftCanny(stride=stride)
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    oblique = ((x - 32) * 0.95 + (y - 32) * 0.31 > 0).float().expand(1, 3, 64, 64)
    for image in (oblique, *(made_images(name, (64, 64)) for name in FLAT)):
        found = soft.to(dtype)(image.to(dtype)).float()
        torch.testing.assert_close(found, SoftCanny(stride=stride)(image), atol=0.15, rtol=0)


def test_strength_is_half_at_the_threshold() -> None:
    """A ramp is no ridge, so thinning leaves one half of it; the threshold leaves one half of that."""
    soft = SoftCanny(threshold=0.2, stride=1)
    ramp = (torch.arange(32.0) * 0.2 / 8).expand(1, 3, 32, 32)
    assert soft(ramp)[0, 0, 16, 16].item() == pytest.approx(0.25, abs=1e-3)


def test_channels_count_by_their_luminance() -> None:
    colour = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    grey = (colour * torch.tensor(LUMA)[None, :, None, None]).sum(1, keepdim=True).expand(1, 3, 16, 16)
    torch.testing.assert_close(SoftCanny()(colour), SoftCanny()(grey), atol=1e-5, rtol=0)


@pytest.mark.parametrize("stride", [1, 2])
def test_gradient_reaches_the_image_and_is_finite(stride: int) -> None:
    flat = torch.full((1, 3, 16, 16), 0.5)
    for image in (step(16), torch.rand(2, 3, 16, 16), flat):
        image = image.clone().requires_grad_()
        SoftCanny(stride=stride)(image).sum().backward()
        assert image.grad.isfinite().all()
        assert torch.equal(image.detach(), flat) or image.grad.abs().sum() > 0


def test_gradcheck() -> None:
    image = torch.rand(1, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(SoftCanny().double(), (image.requires_grad_(),))


@pytest.mark.parametrize(
    "arguments", [{"sigma": 0.0}, {"sigma": math.nan}, {"threshold": -1.0}, {"threshold": math.inf}, {"stride": 3}]
)
def test_a_wrong_argument_is_one_sentence(arguments: dict) -> None:
    with pytest.raises(
        ValueError, match=r"^(Width of the edges' Gaussian|Threshold of edges|Stride of edges) came as .*"
    ):
        SoftCanny(**arguments)


def test_nothing_is_learned_or_stored() -> None:
    assert list(SoftCanny().parameters()) == []
    assert SoftCanny().state_dict() == {}


def test_exports_agree(tmp_path: Path) -> None:
    assert_exports_agree(SoftCanny(), torch.rand(2, 3, 32, 48), tmp_path)
