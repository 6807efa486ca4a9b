"""Whether turns purify the residual: how far defects stand out of it."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from anomalib_stc.parts.sizes import resize_maps


def defects(truth: Tensor, size: Sequence[int]) -> Tensor:
    """Return ground truth (B, h, w) or (B, 1, h, w) as (B, 1, *size) bool."""
    return resize_maps(truth.reshape(len(truth), 1, *truth.shape[-2:]).float(), tuple(size)) > 0.5


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
