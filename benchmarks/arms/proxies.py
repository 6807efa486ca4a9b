"""Other proxies than the superpixel-image, at its scale, to compare it with."""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from anomalib_stc.models.proxy_ano.proxy import Proxy, blurred
from anomalib_stc.models.stcm.structure import LUMA, SoftCanny
from anomalib_stc.parts.checks import check_known
from anomalib_stc.parts.sizes import resize_maps

GREY_LEVELS: Final = 8  # of the quantised proxy


class Edges(Proxy):
    """Edges after Canny, white on black."""

    def __init__(self, cells: int) -> None:
        super().__init__(cells)
        self.canny = SoftCanny()

    def __call__(self, image: Tensor) -> Tensor:
        """Return the edges as grey images."""
        return resize_maps(self.canny.to(image.device)(image), image.shape[-2:]).expand_as(image)


class Blur(Proxy):
    """A Gaussian that leaves as much detail as a mean over a superpixel."""

    def __call__(self, image: Tensor) -> Tensor:
        """Return blurred images."""
        return blurred(image, self.side(image.shape[-2:]))


class DownSampled(Proxy):
    """Means over square cells of the superpixels' size."""

    def __call__(self, image: Tensor) -> Tensor:
        """Return images of square cells."""
        height, width = (max(1, round(length / self.side(image.shape[-2:]))) for length in image.shape[-2:])
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


def make_proxy(kind: str, superpixels: int) -> Proxy:
    """Return a proxy by its kind.

    Args:
        kind: One of `SIMPLE`.
        superpixels: Number of superpixels an image: the scale of all proxies.

    Raises:
        ValueError: If there is no such proxy, or there are no superpixels.
    """
    check_known("Proxy", kind, SIMPLE)
    return SIMPLE[kind](superpixels)
