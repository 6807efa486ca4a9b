"""What the turns of I3AD look like, and whether they purify the residual: for people, not for scores."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from anomalib_stc.models.i3ad.torch_model import I3adModel, Turns
from anomalib_stc.parts.score import resize


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


class SignalToNoise(Metric):
    """Mean residual inside over that outside the ground truth, of every turn, over images with defects.

    Args:
        turns: Number of turns.
    """

    full_state_update = False

    def __init__(self, turns: int) -> None:
        super().__init__()
        self.sums: Tensor
        self.add_state("sums", torch.zeros(4, turns), dist_reduce_fx="sum")

    def update(self, residuals: Sequence[Tensor], truth: Tensor) -> None:
        """Look at residuals (B, 1, H, W), one a turn, where images have defects: ``truth`` (B, 1, H, W) bool."""
        every = torch.cat(list(residuals), 1)  # (B, turns, H, W)
        seen = truth.flatten(1).any(1).to(every)[:, None, None, None]
        parts = (truth.to(every), seen * ~truth)
        self.sums += torch.stack(
            [(value * part).sum((0, 2, 3)) for part in parts for value in (every, torch.ones_like(every))]
        )

    def compute(self) -> Tensor:
        """Return the ratios (turns,), or () for one turn; not a number if no image had a defect."""
        hit, area, miss, rest = self.sums
        return (hit / area) / (miss / rest)
