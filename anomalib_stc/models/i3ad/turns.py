"""What the turns of I3AD look like: for people, not for scores."""

from typing import NamedTuple

import torch
from anomalib.data import InferenceBatch
from torch import Tensor, nn

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
    alone = [model.residuals(output._replace(turns=[turn]), model.score.weights) for turn in output.turns]
    return [
        TracedTurn(turn.mask, turn.image.clamp(0, 1), model.score(residuals, turn.image.shape[-2:])[0])
        for turn, residuals in zip(output.turns, alone, strict=True)
    ]


def turn_pictures(model: I3adModel, output: Turns, post_processor: nn.Module | None) -> Tensor:
    """Return all turns as pictures (B, T, 5, H, W): image, mask, and map.

    Args:
        model: The network.
        output: What it inferred.
        post_processor: What puts the final map on its scale; a turn's map is put on the same one. Without it, maps are
            as the score makes them.
    """
    turns = traced(model, output)
    pictures = [torch.cat([turn.image, turn.mask, scaled(turn.anomaly_map, post_processor)], 1) for turn in turns]
    return torch.stack(pictures, 1)


def scaled(anomaly_map: Tensor, post_processor: nn.Module | None) -> Tensor:
    """Return maps (B, 1, H, W) as a post-processor leaves them."""
    if not isinstance(post_processor, nn.Module):
        return anomaly_map
    shown: InferenceBatch = post_processor(InferenceBatch(anomaly_map.amax((1, 2, 3)), anomaly_map=anomaly_map))
    return anomaly_map if shown.anomaly_map is None else shown.anomaly_map
