"""What the turns of I3AD look like, and whether they purify the residual: for people, not for scores."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from anomalib_stc.components.scoring import resize
from anomalib_stc.models.i3ad.torch_model import I3adModel, Turns


class Iteration(NamedTuple):
    """One turn as people look at it."""

    mask: Tensor  # (B, 1, H, W), 1 where hidden
    image: Tensor  # (B, 3, H, W) in [0, 1]
    anomaly_map: Tensor  # (B, 1, H, W), calibrated and smooth


@torch.no_grad()
def iterations(model: I3adModel, image: Tensor) -> list[Iteration]:
    """Return what every turn hid, filled and found; the first turn hides everything, a part at a time.

    Args:
        model: The network, in evaluation mode.
        image: Images (B, 3, H, W) in [0, 1], sides multiples of 16 from 64.

    Raises:
        ValueError: If a side is not a multiple of 16 or below 64.
    """
    return told(model, model.infer(image))


def told(model: I3adModel, output: Turns) -> list[Iteration]:
    """Return the same of what was inferred already."""
    return [
        Iteration(turn.mask, turn.image.clamp(0, 1), model.score(turn.residuals, turn.image.shape[-2:])[0])
        for turn in output.turns
    ]


def drawn(model: I3adModel, output: Turns) -> Tensor:
    """Return all turns as pictures (B, T, 5, H, W): image, mask, and map, whose highest value of all turns is 1."""
    turns = told(model, output)
    maps = torch.stack([turn.anomaly_map for turn in turns], 1)
    maps = maps / maps.amax((1, 2, 3, 4), keepdim=True).clamp(min=1e-6)
    images, masks = (torch.stack([getattr(turn, name) for turn in turns], 1) for name in ("image", "mask"))
    return torch.cat([images, masks, maps], 2)


def defects(truth: Tensor, size: Sequence[int]) -> Tensor:
    """Return ground truth (B, h, w) or (B, 1, h, w) as (B, 1, *size) bool."""
    return resize(truth.reshape(len(truth), 1, *truth.shape[-2:]).float(), tuple(size)) > 0.5


class SignalToNoise:
    """Mean residual inside over that outside the ground truth, of every turn, over images with defects."""

    def __init__(self) -> None:
        self.sums: dict[int, Tensor] = {}

    @torch.no_grad()
    def update(self, residuals: Sequence[Tensor], truth: Tensor) -> None:
        """Look at residuals (B, 1, H, W), one a turn, where images have defects: ``truth`` (B, 1, H, W) bool."""
        seen = truth.flatten(1).any(1)
        if not seen.any():
            return
        inside = truth[seen].double()
        for index, residual in enumerate(residual[seen].double() for residual in residuals):
            sums = [(residual * inside).sum(), inside.sum(), (residual * (1 - inside)).sum(), (1 - inside).sum()]
            self.sums[index] = self.sums.get(index, 0) + torch.stack(sums)

    def compute(self) -> list[Tensor]:
        """Return the ratios by turn, and forget them; none if no image had a defect."""
        sums, self.sums = self.sums, {}
        return [(hit / area / (miss / rest)).float() for hit, area, miss, rest in sums.values()]
