"""Proxies: what an image is reduced to before it is rebuilt. Needed in training only; a model predicts its own.

All take images (B, 3, H, W) in [0, 1] and return proxies of the same shape and range, at one scale: the side of a cell
is that of a superpixel, so that what differs between two proxies is their kind.
"""

from abc import ABC, abstractmethod
from typing import Final

import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor

from anomalib_stc.models.proxy_ano.superpixel import SegmentCache
from anomalib_stc.parts.checks import check, check_whole

COMPACTNESS: Final = 10.0  # the usual value for colours; 1 leaves 22 of 300 segments on brain MR


class Proxy(ABC):
    """Images to their proxies.

    Args:
        cells: Number of superpixels an image, which sets the scale.

    Raises:
        ValueError: If there are none.
    """

    def __init__(self, cells: int) -> None:
        check_whole("Number of superpixels", cells)
        self.cells = cells

    @abstractmethod
    def __call__(self, image: Tensor) -> Tensor:
        """Return the proxies of images (B, 3, H, W) in [0, 1], of the same shape and range."""

    def side(self, size: tuple[int, ...]) -> float:
        """Return the side in pixels of one of so many square cells that fill a height and width."""
        return (size[0] * size[1] / self.cells) ** 0.5

    def check_size(self, size: tuple[int, ...]) -> None:
        """Raise a `ValueError` if a cell is wider than images of this height and width."""
        fits = blur_margin(self.side(size)) < min(size)
        check("Number of superpixels", self.cells, fits, f"more for images of {size[0]} x {size[1]} pixels")


class SuperpixelImage(Proxy):
    """Every pixel takes the mean colour of its superpixel (SLIC); segments are computed once an image.

    Args:
        cells: Number of superpixels asked for; SLIC gives about as many.
        compactness: Weight of nearness against likeness of colour in SLIC.
        folder: See `SegmentCache`.
    """

    def __init__(self, cells: int, compactness: float = COMPACTNESS, folder: str | None = None) -> None:
        super().__init__(cells)
        self.segments = SegmentCache(cells, compactness, folder)

    def __call__(self, image: Tensor) -> Tensor:
        """Return the superpixel-images."""
        return segment_means(image, torch.stack([self.segments(one) for one in image]).to(image.device))


def segment_means(image: Tensor, segments: Tensor) -> Tensor:
    """Return images in which every pixel has the mean of its segment.

    Args:
        image: Images (B, C, H, W).
        segments: Number of the segment of every pixel (B, H, W), from 0.
    """
    flat, index = image.flatten(2), segments.flatten(1)[:, None].long()
    count = int(index.max()) + 1
    size = torch.zeros(len(image), 1, count, device=image.device, dtype=image.dtype)
    size.scatter_add_(2, index, torch.ones_like(flat[:, :1]))
    total = torch.zeros(*flat.shape[:2], count, device=image.device, dtype=image.dtype)
    total.scatter_add_(2, index.expand_as(flat), flat)
    return (total / size.clamp(min=1)).gather(2, index.expand_as(flat)).view_as(image)


def blurred(image: Tensor, side: float) -> Tensor:
    """Blur images (B, C, H, W) with the Gaussian whose variance is that of a square of the given side in pixels."""
    sigma = side / 12**0.5
    kernel = 2 * blur_margin(side) + 1
    return gaussian_blur2d(image, (kernel, kernel), (sigma, sigma), border_type="reflect")


def blur_margin(side: float) -> int:
    """Return the pixels on each side that `blurred` looks at; beyond the border it sees the image's reflection."""
    return round(3 * side / 12**0.5)
