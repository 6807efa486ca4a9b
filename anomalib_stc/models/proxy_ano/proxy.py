"""Proxies: what an image is reduced to before it is rebuilt. Needed in training only; a model predicts its own.

All take images (B, 3, H, W) in [0, 1] and return proxies of the same shape and range, at one scale: the side of a cell
is that of a superpixel, so that what differs between two proxies is their kind.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor
from torch.nn import functional as F

from anomalib_stc.models.proxy_ano.superpixel import SegmentCache
from anomalib_stc.models.stcm.structure import LUMA, SoftCanny
from anomalib_stc.parts.checks import check_known
from anomalib_stc.parts.score import resize

GREY_LEVELS: Final = 8  # of the quantised proxy


class Proxy(ABC):
    """Images to their proxies.

    Args:
        cells: Number of superpixels an image, which sets the scale.
    """

    def __init__(self, cells: int) -> None:
        if cells < 1:
            msg = f"Number of superpixels is {cells}, expected 1 or more: raise it."
            raise ValueError(msg)
        self.cells = cells

    @abstractmethod
    def __call__(self, image: Tensor) -> Tensor:
        """Return the proxies of images (B, 3, H, W) in [0, 1], of the same shape and range."""

    def side(self, image: Tensor) -> float:
        """Return the side of a cell in pixels of images (B, 3, H, W)."""
        return cell_side(image, self.cells)


class SuperpixelImage(Proxy):
    """Every pixel takes the mean colour of its superpixel (SLIC); segments are computed once an image.

    Args:
        cells: Number of superpixels asked for; SLIC gives about as many.
        compactness: Weight of nearness against likeness of colour in SLIC.
        folder: See `SegmentCache`.
    """

    def __init__(self, cells: int, compactness: float, folder: str | None = None) -> None:
        super().__init__(cells)
        self.segments = SegmentCache(cells, compactness, folder)

    def __call__(self, image: Tensor) -> Tensor:
        """Return the superpixel-images."""
        return segment_means(image, torch.stack([self.segments(one) for one in image]).to(image.device))


class Edges(Proxy):
    """Edges after Canny, white on black."""

    def __init__(self, cells: int) -> None:
        super().__init__(cells)
        self.canny = SoftCanny()

    def __call__(self, image: Tensor) -> Tensor:
        """Return the edges as grey images."""
        return resize(self.canny.to(image.device)(image), image.shape[-2:]).expand_as(image)


class Blur(Proxy):
    """A Gaussian that leaves as much detail as a mean over a superpixel."""

    def __call__(self, image: Tensor) -> Tensor:
        """Return blurred images."""
        return blurred(image, self.side(image))


class DownSampled(Proxy):
    """Means over square cells of the superpixels' size."""

    def __call__(self, image: Tensor) -> Tensor:
        """Return images of square cells."""
        height, width = (max(1, round(length / self.side(image))) for length in image.shape[-2:])
        return F.interpolate(F.adaptive_avg_pool2d(image, (height, width)), size=image.shape[-2:], mode="nearest")


class QuantisedGrey(Proxy):
    """Grey in a few equal steps; there is no scale in it."""

    def __call__(self, image: Tensor) -> Tensor:
        """Return quantised grey images."""
        grey = (image * torch.tensor(LUMA, device=image.device)[:, None, None]).sum(1, keepdim=True)
        return ((grey * GREY_LEVELS).floor().clamp(max=GREY_LEVELS - 1) / (GREY_LEVELS - 1)).expand_as(image)


class Identity(Proxy):
    """The image itself: self-reconstruction."""

    def __call__(self, image: Tensor) -> Tensor:
        """Return the images."""
        return image


SIMPLE: Final[dict[str, Callable[[int], Proxy]]] = {
    "edge": Edges,
    "blur": Blur,
    "down_sampled": DownSampled,
    "quantised": QuantisedGrey,
    "identity": Identity,
}
PROXIES: Final = ("superpixel", *SIMPLE)


def make_proxy(name: str, superpixels: int, compactness: float, folder: str | None = None) -> Proxy:
    """Return a proxy by its name.

    Args:
        name: One of `PROXIES`.
        superpixels: Number of superpixels an image: the scale of all proxies.
        compactness: Of the superpixels.
        folder: Where segments are kept from one run to the next; ``None`` keeps them in memory only.

    Raises:
        ValueError: If there is no such proxy, or an argument is out of range.
    """
    if name == "superpixel":
        return SuperpixelImage(superpixels, compactness, folder)
    check_known("Proxy", name, PROXIES)
    return SIMPLE[name](superpixels)


def cell_side(image: Tensor, cells: int) -> float:
    """Return the side in pixels of one of a number of square cells that fill images (B, C, H, W)."""
    return (image.shape[-2] * image.shape[-1] / cells) ** 0.5


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
    kernel = 2 * round(3 * sigma) + 1
    return gaussian_blur2d(image, (kernel, kernel), (sigma, sigma), border_type="reflect")
