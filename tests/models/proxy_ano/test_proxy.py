"""Superpixel-images by closed forms and on a real photograph."""

import pytest
import torch
from skimage import data as photographs
from torch import Tensor

from anomalib_stc.models.proxy_ano.proxy import SuperpixelImage, blurred, segment_means


@pytest.fixture(scope="module")
def photograph() -> Tensor:
    """The upper part of an astronaut's picture (1, 3, 96, 128)."""
    return torch.from_numpy(photographs.astronaut()[:96, 160:288]).permute(2, 0, 1)[None] / 255


def test_shape_range_and_determinism(photograph: Tensor) -> None:
    proxy = SuperpixelImage(50)(photograph)
    assert proxy.shape == photograph.shape
    assert 0 <= proxy.min() <= proxy.max() <= 1 + 1e-6
    assert torch.equal(proxy, SuperpixelImage(50)(photograph))


def test_a_constant_image_is_its_own_proxy() -> None:
    image = torch.full((2, 3, 64, 80), 0.3)
    torch.testing.assert_close(SuperpixelImage(30)(image), image, atol=1e-5, rtol=0)


def test_a_segment_has_the_exact_mean_of_its_pixels(photograph: Tensor) -> None:
    proxy = SuperpixelImage(50)
    found = proxy(photograph)[0]
    segments = proxy.segments(photograph[0])
    assert 25 <= len(segments.unique()) <= 100
    for number in segments.unique():
        inside = segments == number
        expected = photograph[0][:, inside].mean(1, keepdim=True).expand(3, int(inside.sum()))
        torch.testing.assert_close(found[:, inside], expected, atol=1e-5, rtol=0)


def test_segment_means_keep_images_of_a_batch_apart() -> None:
    image = torch.tensor([[0.0, 1.0, 3.0], [10.0, 20.0, 60.0]])[:, None, None]
    segments = torch.tensor([[0, 0, 1], [0, 1, 1]])[:, None]
    expected = torch.tensor([[0.5, 0.5, 3.0], [10.0, 40.0, 40.0]])[:, None, None]
    torch.testing.assert_close(segment_means(image, segments), expected)


def test_more_superpixels_keep_more(photograph: Tensor) -> None:
    lost = [(SuperpixelImage(cells)(photograph) - photograph).abs().mean() for cells in (10, 50, 250)]
    assert lost == sorted(lost, reverse=True)


def test_blur_has_the_variance_of_a_square() -> None:
    point = torch.zeros(1, 1, 65, 65)
    point[..., 32, 32] = 1
    along = blurred(point, 12.0)[0, 0].sum(0)
    variance = (along * (torch.arange(65.0) - 32).square()).sum()
    assert variance.item() == pytest.approx(12, rel=0.05)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0, 10.0), "Number of superpixels came as 0, expected a whole number, 1 or more"),
        ((2.5, 10.0), "Number of superpixels came as 2.5, expected a whole number, 1 or more"),
        ((10**6, 10.0), "Number of superpixels came as 1000000, expected at most 16384"),
        ((50, 0.0), "Compactness came as 0.0, expected a finite number above 0, as 10.0"),
        ((50, float("nan")), "Compactness came as nan, expected a finite number above 0, as 10.0"),
    ],
)
def test_a_wrong_argument_is_one_sentence(arguments: tuple[int, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        SuperpixelImage(*arguments)


def test_a_cell_wider_than_the_image_is_one_sentence() -> None:
    """One of a square is as wide as it; one of a long image is wider than its other side."""
    SuperpixelImage(1).check_size((64, 64))
    sentence = r"^Number of superpixels came as 1, expected more for images of 64 x 256 pixels\.$"
    with pytest.raises(ValueError, match=sentence):
        SuperpixelImage(1).check_size((64, 256))
    SuperpixelImage(4).check_size((64, 256))
    assert blurred(torch.rand(1, 3, 64, 256), SuperpixelImage(4).side((64, 256))).isfinite().all()
