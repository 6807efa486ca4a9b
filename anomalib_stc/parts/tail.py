"""How rare a residual is among those of normal images: what makes terms of different kinds comparable.

A residual becomes the negative logarithm of the share of normal residuals above it: read off the normal ones up to
their 98th percentile, in straight pieces, beyond it continued as a generalised Pareto tail, which is heavier than an
exponential one: so no single term drowns all others, and half precision holds it.
"""

from math import log
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from anomalib_stc.parts.rounding import EPSILON

KNOTS: Final = 16
BODY: Final = 0.98  # share of the normal residuals that is read off
STEP: Final = -log(1 - BODY) / (KNOTS - 1)  # of the logarithm, from knot to knot
FARTHEST: Final = 6e4  # excess over the mean one: half precision ends at 65,504
HEAVY: Final = 4.0  # inverse of the tail's shape: an exponential one is infinite


def fitted(residuals: Tensor) -> Tensor:
    """Return the curve (KNOTS + 1,) of normal residuals: knots, then the mean excess over the last one.

    Args:
        residuals: Residuals of normal images, any shape, one at least.
    """
    ordered = residuals.flatten().double().sort().values
    shares = 1 - torch.exp(-STEP * torch.arange(KNOTS, device=ordered.device, dtype=ordered.dtype))
    places = shares * (len(ordered) - 1)
    below, above = ordered[places.floor().long()], ordered[places.ceil().long()]
    knots = torch.lerp(below, above, places.frac())
    beyond = ordered[ordered > knots[-1]] - knots[-1]
    excess = beyond.mean() if len(beyond) else beyond.new_tensor(EPSILON)
    return torch.cat([knots, excess.clamp(min=EPSILON)[None]]).to(residuals.dtype)


def rarity(residual: Tensor, curve: Tensor) -> Tensor:
    """Return how rare residuals (B, 1, h, w) are: 0 for the commonest, 1 more where they are e times rarer.

    Args:
        residual: Residuals.
        curve: What `fitted` returned.
    """
    low, width = curve[: KNOTS - 1], (curve[1:KNOTS] - curve[: KNOTS - 1]).clamp(min=EPSILON)
    steps = ((residual - low[:, None, None]) / width[:, None, None]).clamp(0, 1)
    excess = (F.relu(residual - curve[KNOTS - 1]) / ((HEAVY - 1) * curve[KNOTS])).clamp(max=FARTHEST)
    return STEP * steps.sum(1, keepdim=True) + HEAVY * (1 + excess).log()
