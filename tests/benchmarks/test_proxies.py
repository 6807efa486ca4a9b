"""The proxies that the superpixel-image is compared with, by closed forms."""

import pytest
import torch
from skimage import data as photographs
from torch import Tensor

from benchmarks.arms.proxies import SIMPLE, make_proxy


@pytest.fixture(scope="module")
def photograph() -> Tensor:
    """The upper part of an astronaut's picture (1, 3, 96, 128)."""
    return torch.from_numpy(photographs.astronaut()[:96, 160:288]).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize("kind", SIMPLE)
def test_shape_range_and_determinism(kind: str, photograph: Tensor) -> None:
    proxy = make_proxy(kind, 50)(photograph)
    assert proxy.shape == photograph.shape
    assert 0 <= proxy.min() <= proxy.max() <= 1 + 1e-6
    assert torch.equal(proxy, make_proxy(kind, 50)(photograph))


@pytest.mark.parametrize("kind", [kind for kind in SIMPLE if kind not in {"edge", "quantised"}])
def test_a_constant_image_is_its_own_proxy(kind: str) -> None:
    image = torch.full((2, 3, 64, 80), 0.3)
    torch.testing.assert_close(make_proxy(kind, 30)(image), image, atol=1e-5, rtol=0)


def test_a_constant_image_has_no_edges() -> None:
    assert make_proxy("edge", 30)(torch.full((1, 3, 64, 64), 0.3)).max() < 1e-3


def test_quantised_grey_has_eight_levels() -> None:
    grey = torch.linspace(0, 1, 640).view(1, 1, 8, 80).expand(1, 3, 8, 80)
    assert len(make_proxy("quantised", 1)(grey).unique()) == 8


def test_down_sampled_has_square_cells() -> None:
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    proxy = make_proxy("down_sampled", 16)(image)
    torch.testing.assert_close(
        proxy[..., :16, :16], image[..., :16, :16].mean((-2, -1), keepdim=True).expand(1, 3, 16, 16)
    )


@pytest.mark.parametrize(
    ("kind", "superpixels", "sentence"),
    [
        ("superpixels", 50, "Proxy is 'superpixels', expected one of edge, blur"),
        ("blur", -1, "Number of superpixels came as -1, expected a whole number, 1 or more"),
    ],
)
def test_a_wrong_argument_is_one_sentence(kind: str, superpixels: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make_proxy(kind, superpixels)
