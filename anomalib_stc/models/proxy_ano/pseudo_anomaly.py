"""Pseudo anomalies (ProxyAno, Zhou et al., IEEE TMI 2022): a patch of the image pasted on its proxy."""

from typing import NamedTuple

import torch
from torch import Tensor

from anomalib_stc.parts.checks import check_known

SHAPES = ("rectangle", "ellipse", "both")
POSITIONS = ("random", "same")
SOURCES = ("image", "batch")


class Pasted(NamedTuple):
    """Proxies with pseudo anomalies."""

    proxy: Tensor  # (B, 3, H, W); without gradient where something was pasted
    mask: Tensor  # (B, 1, H, W), 1 inside the patch


class PatchPaste:
    """Pastes one patch of an image on its proxy, with a probability.

    Args:
        probability: Share of the images that get a patch, in [0, 1].
        size: Least and largest side of a patch, as a share of the image's side, in (0, 1).
        shape: ``rectangle``, ``ellipse``, or ``both``, one of the two at random.
        position: ``random`` takes the patch from another place than it goes to, ``same`` from where it goes.
        source: ``image`` takes it from the same image, ``batch`` from the next image of the batch.

    Raises:
        ValueError: If an argument is out of range or unknown.
    """

    def __init__(
        self,
        probability: float = 0.5,
        size: tuple[float, float] = (0.05, 0.25),
        shape: str = "both",
        position: str = "random",
        source: str = "image",
    ) -> None:
        if not 0 <= probability <= 1:
            msg = f"Probability of a pseudo anomaly is {probability}, expected 0 to 1: change it."
            raise ValueError(msg)
        if len(size) != 2 or not 0 < size[0] <= size[1] < 1:
            msg = f"Size of pseudo anomalies is {size}, expected least and largest share of the side, as (0.05, 0.25)."
            raise ValueError(msg)
        check_known("Shape of pseudo anomalies", shape, SHAPES)
        check_known("Position of pseudo anomalies", position, POSITIONS)
        check_known("Source of pseudo anomalies", source, SOURCES)
        self.probability = probability
        self.size = size
        self.shape = shape
        self.position = position
        self.source = source

    def __call__(self, proxy: Tensor, image: Tensor) -> Pasted:
        """Paste patches of images on proxies, both (B, 3, H, W); neither is changed."""
        sources = image.roll(-1, 0) if self.source == "batch" else image
        masks, patches = zip(*(self.one(source) for source in sources), strict=True)
        mask, patch = torch.stack(masks), torch.stack(patches)
        pasted = mask.flatten(1).amax(1)[:, None, None, None] > 0
        return Pasted(torch.where(mask > 0, patch, torch.where(pasted, proxy.detach(), proxy)), mask)

    def one(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mask (1, H, W) of a patch and the image (3, H, W) moved so that the patch lies under it."""
        height, width = source.shape[-2:]
        mask = torch.zeros(1, height, width, device=source.device)
        if torch.rand(()) >= self.probability:
            return mask, source
        low, high = self.size
        tall, wide = (max(1, round(side * float(low + (high - low) * torch.rand(())))) for side in (height, width))
        top, left = int(torch.randint(height - tall + 1, ())), int(torch.randint(width - wide + 1, ()))
        mask[:, top : top + tall, left : left + wide] = self.form(tall, wide).to(source.device)
        if self.position == "same":
            return mask, source
        up, across = int(torch.randint(height - tall + 1, ())), int(torch.randint(width - wide + 1, ()))
        return mask, source.roll((top - up, left - across), (-2, -1))

    def form(self, tall: int, wide: int) -> Tensor:
        """Return a patch's own mask (tall, wide)."""
        ellipse = self.shape == "ellipse" or (self.shape == "both" and bool(torch.rand(()) < 0.5))
        if not ellipse:
            return torch.ones(tall, wide)
        y, x = ((torch.arange(length) + 0.5) / length * 2 - 1 for length in (tall, wide))
        return (y[:, None].square() + x.square() <= 1).float()
