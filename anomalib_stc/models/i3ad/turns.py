"""What the turns of I3AD look like: for people, not for scores."""

from typing import NamedTuple

import torch
from torch import Tensor

from anomalib_stc.models.i3ad.torch_model import I3adModel, Turns


class TracedTurn(NamedTuple):
    """One turn as people look at it."""

    mask: Tensor  # (B, 1, H, W), 1 where hidden
    image: Tensor  # (B, 3, H, W) in [0, 1]
    anomaly_map: Tensor  # (B, 1, H, W), calibrated and smooth


@torch.no_grad()
def trace(model: I3adModel, image: Tensor) -> list[TracedTurn]:
    """Return what every turn hid, filled and found; the first turn hides everything, a part at a time.

    Args:
        model: The network, in evaluation mode.
        image: Images (B, 3, H, W) in [0, 1], sides multiples of 16 from 64.

    Raises:
        ValueError: If a side is not a multiple of 16 or below 64.
    """
    return traced(model, model.infer(image))


def traced(model: I3adModel, output: Turns) -> list[TracedTurn]:
    """Return the same of what was inferred already."""
    return [
        TracedTurn(turn.mask, turn.image.clamp(0, 1), model.score(turn.residuals, turn.image.shape[-2:])[0])
        for turn in output.turns
    ]


def turn_pictures(model: I3adModel, output: Turns) -> Tensor:
    """Return all turns as pictures (B, T, 5, H, W): image, mask, and map, whose highest value of all turns is 1."""
    turns = traced(model, output)
    maps = torch.stack([turn.anomaly_map for turn in turns], 1)
    maps = maps / maps.amax((1, 2, 3, 4), keepdim=True).clamp(min=1e-6)
    images, masks = (torch.stack([getattr(turn, name) for turn in turns], 1) for name in ("image", "mask"))
    return torch.cat([images, masks, maps], 2)
