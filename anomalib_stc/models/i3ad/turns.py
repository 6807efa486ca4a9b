"""What the turns of I3AD look like: for people, not for scores."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from anomalib_stc.models.i3ad.torch_model import I3adModel, Turn, Turns
from anomalib_stc.parts.features import GRID_STRIDE
from anomalib_stc.parts.rounding import EPSILON


class TracedTurn(NamedTuple):
    """One turn as people look at it."""

    mask: Tensor  # (B, 1, H, W), 1 where hidden
    image: Tensor  # (B, 3, H, W) in [0, 1]
    suspicion: Tensor  # (B, 1, H, W) in [0, 1]: a next turn hides what is above 0.5 and the cells around, see the mask


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
    return [TracedTurn(turn.mask, turn.image.clamp(0, 1), shown(model, turn)) for turn in output.turns]


def shown(model: I3adModel, turn: Turn) -> Tensor:
    """Return how suspicious the places (B, 1, H, W) of a turn are, on the scale of the mask's threshold."""
    cells = model.suspicious(turn) / (2 * model.mask.threshold.clamp_min(EPSILON))
    return F.interpolate(cells.clamp(0, 1), scale_factor=GRID_STRIDE, mode="nearest")


def turn_pictures(model: I3adModel, output: Turns) -> Tensor:
    """Return all turns as pictures (B, T, 5, H, W): image, mask, and suspicion."""
    return torch.stack([torch.cat([turn.image, turn.mask, turn.suspicion], 1) for turn in traced(model, output)], 1)
