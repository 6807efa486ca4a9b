"""A high quantile from few values, such as the scores of the held-out images of a small folder."""

from math import sqrt
from statistics import NormalDist

import torch
from torch import Tensor


def upper_quantile(values: Tensor, quantile: float) -> Tensor:
    """Estimate the value () that this share of future values stays below.

    With at least 1 / (1 - quantile) values it is the empirical quantile, interpolated linearly. With fewer, that
    one is about the maximum, which the next normal image exceeds with probability 1 / (n + 1). Then the normal
    distribution's bound for one more value, mean + z * deviation * sqrt(1 + 1/n), is taken where it is higher. For
    6 values and a quantile of 0.99, simulation gives 15 % false alarms with the empirical quantile and 2 to 7 % with
    this bound, over uniform, normal, Gumbel and log-normal scores. One value has no deviation: it is the threshold.

    Args:
        values: Finite values (n,), n >= 1.
        quantile: Share between 0 and 1, both excluded.

    Raises:
        ValueError: If there is no value, one is not finite, or the quantile is out of range.
    """
    if not 0 < quantile < 1:
        msg = f"Quantile {quantile} came where a share between 0 and 1 is expected: choose for example 0.99."
        raise ValueError(msg)
    if values.numel() == 0 or not values.isfinite().all():
        msg = f"{values.numel()} values came where one at least, and finite ones only, are expected: hold out images."
        raise ValueError(msg)
    exact = values.detach().flatten().cpu().double()
    result = _empirical(exact, quantile)
    if 1 < len(exact) < 1 / (1 - quantile):
        result = torch.maximum(result, _normal_bound(exact, quantile))
    return result.to(values)


def _empirical(values: Tensor, quantile: float) -> Tensor:
    """Return what `torch.quantile` does, which takes 16 million values at most: 16 thousand images of 1024 cells."""
    ordered = values.sort().values
    place = quantile * (len(ordered) - 1)
    below = int(place)
    return torch.lerp(ordered[below], ordered[min(below + 1, len(ordered) - 1)], place - below)


def _normal_bound(values: Tensor, quantile: float) -> Tensor:
    margin = NormalDist().inv_cdf(quantile) * sqrt(1 + 1 / len(values))
    return values.mean() + margin * values.std()
