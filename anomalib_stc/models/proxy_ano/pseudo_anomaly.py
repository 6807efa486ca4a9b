"""Pseudo anomalies (ProxyAno, Zhou et al., IEEE TMI 2022): a patch of the image pasted on its proxy."""

from typing import NamedTuple

import torch
from torch import Tensor

from anomalib_stc.parts.checks import check


class Pasted(NamedTuple):
    """Proxies with pseudo anomalies."""

    proxy: Tensor  # (B, 3, H, W); without gradient where something was pasted
    mask: Tensor  # (B, 1, H, W), 1 inside the patch


class PatchPaste:
    """Pastes one patch of an image on its proxy, with a probability.

    Args:
        probability: Share of the images that get a patch, in [0, 1].
        size: Least and largest side of a patch, as a share of the image's side, in (0, 1).

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, probability: float, size: tuple[float, float] = (0.05, 0.25)) -> None:
        check("Share of pseudo anomalies", probability, 0 <= probability <= 1, "0 to 1")
        wanted = "least and largest share of the side, as (0.05, 0.25)"
        check("Size of pseudo anomalies", size, len(size) == 2 and 0 < size[0] <= size[1] < 1, wanted)
        self.probability = probability
        self.size = size

    def __call__(self, proxy: Tensor, image: Tensor) -> Pasted:
        """Paste patches of images on proxies, both (B, 3, H, W); neither is changed."""
        masks, patches = zip(*(self.one(source) for source in image), strict=True)
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
        up, across = int(torch.randint(height - tall + 1, ())), int(torch.randint(width - wide + 1, ()))
        return mask, source.roll((top - up, left - across), (-2, -1))

    def form(self, tall: int, wide: int) -> Tensor:
        """Return a patch's own mask (tall, wide): an ellipse or a rectangle."""
        if torch.rand(()) >= 0.5:
            return torch.ones(tall, wide)
        y, x = ((torch.arange(length) + 0.5) / length * 2 - 1 for length in (tall, wide))
        return (y[:, None].square() + x.square() <= 1).float()
