"""The resize equals torch's anti-aliased one, is idempotent, and says what it does not accept."""

import pytest
import torch
from anomalib.data import ImageBatch
from torch.nn import functional
from torchvision import tv_tensors
from torchvision.transforms import v2

from anomalib_stc.host.resize import Resize, resize_by_kernel, resize_by_products, triangle_weights

SIZES = [(97, 131), (300, 200), (64, 64), (33, 640), (1, 1), (128, 96)]


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(2, 3, 97, 131, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size_in", [1, 7, 64, 97, 301])
def test_weights_of_a_pixel_sum_to_one(size_in: int) -> None:
    weights = triangle_weights(size_in, 64, like=torch.zeros(1, dtype=torch.float64))
    assert weights.shape == (64, size_in)
    torch.testing.assert_close(weights.sum(1), torch.ones(64, dtype=torch.float64))


def test_weights_of_halving_are_one_eighth_three_eighths() -> None:
    weights = triangle_weights(8, 4, like=torch.zeros(1))
    torch.testing.assert_close(weights[1], torch.tensor([0, 1, 3, 3, 1, 0, 0, 0]) / 8)


def test_weights_of_the_same_size_are_the_identity() -> None:
    assert torch.equal(triangle_weights(50, 50, like=torch.zeros(1)), torch.eye(50))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resize", [resize_by_products, resize_by_kernel])
def test_both_paths_equal_torch_antialias(resize, size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    expected = functional.interpolate(image, (64, 96), mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(resize(image, (64, 96)), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_what_is_exported_equals_what_is_run(size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(2))
    program = torch.export.export(Resize((64, 96)), (image,))
    names = {str(node.target) for node in program.graph.nodes}
    assert not any("upsample" in name or "interpolate" in name for name in names)
    torch.testing.assert_close(program.module()(image), Resize((64, 96))(image), atol=1e-6, rtol=0)


def test_export_at_the_models_size_costs_nothing() -> None:
    program = torch.export.export(Resize(64), (torch.rand(1, 3, 64, 64),))
    assert [node.op for node in program.graph.nodes] == ["placeholder", "output"]


def test_second_application_changes_nothing(image: torch.Tensor) -> None:
    resize = Resize((64, 80))
    once = resize(tv_tensors.Image(image))
    assert resize(once) is once
    assert isinstance(once, tv_tensors.Image)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_values_stay_in_range(value: float) -> None:
    resized = Resize(37)(torch.full((1, 3, 211, 90), value))
    assert resized.min() >= 0
    assert resized.max() <= 1 + 1e-6
    torch.testing.assert_close(resized, torch.full((1, 3, 37, 37), value))


@pytest.mark.parametrize("size", [(40, 50), (32, 32)])
def test_grey_becomes_three_equal_channels(size: tuple[int, int]) -> None:
    grey = torch.rand(2, 1, *size)
    resized = Resize(32)(grey)
    assert torch.equal(resized, Resize(32)(grey.repeat(1, 3, 1, 1)))
    assert isinstance(Resize(32)(tv_tensors.Image(grey)), tv_tensors.Image)


@pytest.mark.parametrize("channels", [2, 4])
def test_other_channel_counts_are_refused(channels: int) -> None:
    with pytest.raises(ValueError, match=r"\(1, \d, 8, 8\) came where .* is expected"):
        Resize(8)(torch.rand(1, channels, 8, 8))


def test_integer_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"torch\.uint8 came where floating point"):
        Resize(8)(torch.zeros(1, 3, 9, 9, dtype=torch.uint8))


def test_half_precision_keeps_its_type(image: torch.Tensor) -> None:
    resized = Resize(32)(image.bfloat16())
    assert resized.dtype == torch.bfloat16
    torch.testing.assert_close(resized.float(), Resize(32)(image), atol=1e-2, rtol=0)


def test_masks_stay_binary_and_follow_the_image() -> None:
    batch = ImageBatch(image=torch.rand(2, 3, 40, 60), gt_mask=torch.zeros(2, 40, 60, dtype=torch.bool))
    batch.gt_mask[:, :20] = True
    batch.image, batch.gt_mask = Resize((20, 30))(batch.image, batch.gt_mask)
    assert batch.image.shape == (2, 3, 20, 30)
    assert batch.gt_mask.dtype == torch.bool
    assert batch.gt_mask[:, :10].all()
    assert not batch.gt_mask[:, 10:].any()


def test_a_missing_mask_stays_missing() -> None:
    image, mask = Resize(16)(tv_tensors.Image(torch.rand(3, 20, 20)), None)
    assert image.shape == (3, 16, 16)
    assert mask is None


def test_it_is_a_resize_to_anomalib() -> None:
    resize = Resize((64, 80))
    assert isinstance(resize, v2.Resize)
    assert resize.size == [64, 80]
