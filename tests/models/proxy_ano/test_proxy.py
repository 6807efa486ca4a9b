"""Every proxy by closed forms; superpixel-images on a real photograph."""

import pytest
import torch
from skimage import data as photographs
from torch import Tensor

from anomalib_stc.models.proxy_ano.proxy import PROXIES, blurred, make_proxy, segment_means


@pytest.fixture(scope="module")
def photograph() -> Tensor:
    """The upper part of an astronaut's picture (1, 3, 96, 128)."""
    return torch.from_numpy(photographs.astronaut()[:96, 160:288]).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize("name", PROXIES)
def test_shape_range_and_determinism(name: str, photograph: Tensor) -> None:
    proxy = make_proxy(name, 50, 10.0)(photograph)
    assert proxy.shape == photograph.shape
    assert 0 <= proxy.min() <= proxy.max() <= 1 + 1e-6
    assert torch.equal(proxy, make_proxy(name, 50, 10.0)(photograph))


@pytest.mark.parametrize("name", [name for name in PROXIES if name not in {"edge", "quantised"}])
def test_a_constant_image_is_its_own_proxy(name: str) -> None:
    image = torch.full((2, 3, 64, 80), 0.3)
    torch.testing.assert_close(make_proxy(name, 30, 10.0)(image), image, atol=1e-5, rtol=0)


def test_a_constant_image_has_no_edges() -> None:
    assert make_proxy("edge", 30, 10.0)(torch.full((1, 3, 64, 64), 0.3)).max() < 1e-3


def test_a_segment_has_the_exact_mean_of_its_pixels(photograph: Tensor) -> None:
    proxy = make_proxy("superpixel", 50, 10.0)
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
    lost = [(make_proxy("superpixel", cells, 10.0)(photograph) - photograph).abs().mean() for cells in (10, 50, 250)]
    assert lost == sorted(lost, reverse=True)


def test_quantised_grey_has_eight_levels() -> None:
    grey = torch.linspace(0, 1, 640).view(1, 1, 8, 80).expand(1, 3, 8, 80)
    assert len(make_proxy("quantised", 1, 10.0)(grey).unique()) == 8


def test_down_sampled_has_square_cells() -> None:
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    proxy = make_proxy("down_sampled", 16, 10.0)(image)
    torch.testing.assert_close(
        proxy[..., :16, :16], image[..., :16, :16].mean((-2, -1), keepdim=True).expand(1, 3, 16, 16)
    )


def test_blur_has_the_variance_of_a_square() -> None:
    point = torch.zeros(1, 1, 65, 65)
    point[..., 32, 32] = 1
    along = blurred(point, 12.0)[0, 0].sum(0)
    variance = (along * (torch.arange(65.0) - 32).square()).sum()
    assert variance.item() == pytest.approx(12, rel=0.05)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("superpixels", 50, 10.0), "Proxy is 'superpixels', expected one of superpixel, edge, blur"),
        (("superpixel", 0, 10.0), "Number of superpixels is 0, expected 1 or more"),
        (("blur", -1, 10.0), "Number of superpixels is -1, expected 1 or more"),
        (("superpixel", 50, 0.0), "Compactness is 0.0, expected above 0"),
    ],
)
def test_a_wrong_argument_is_one_sentence(arguments: tuple[str, int, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make_proxy(*arguments)
