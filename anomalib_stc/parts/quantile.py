"""A high quantile from few values, such as the scores of the images of a small folder."""

from math import inf, sqrt
from typing import Final

import numpy as np
import torch
from scipy.stats import binom
from scipy.stats import t as student
from torch import Tensor

CHANCE: Final = 0.05  # on either side: what is seldomer is not put down to chance


def needed(quantile: float) -> float:
    """Return how many values tell a quantile by themselves: the next is above the highest of fewer more often."""
    return round(quantile / (1 - quantile), 6)


def upper_quantile(values: Tensor, quantile: float) -> Tensor:
    """Estimate the value () that the next value stays below with this probability.

    A quantile of some dozens of values is made of the highest two or three. The prediction limit of normal values,
    mean + t * deviation * sqrt(1 + 1/n) with Student's t, is made of all of them. Cube roots of residuals are about
    normal, as those of all that is like a sum of squares (Wilson and Hilferty, 1931), so the limit is theirs.

    Values may be distributed otherwise: the limit goes no farther than chance explains, at `CHANCE` on either side,
    how many of them are above it. The more values there are, the less room that leaves beside the quantile itself.
    One value has no deviation: it is the threshold.

    Args:
        values: Finite values (n,), n >= 1.
        quantile: Probability between 0 and 1, both excluded.

    Raises:
        ValueError: If there is no value, one is not finite, or the quantile is out of range.
    """
    if not 0 < quantile < 1:
        msg = f"Quantile {quantile} came where a share between 0 and 1 is expected: choose for example 0.99."
        raise ValueError(msg)
    if values.numel() == 0 or not values.isfinite().all():
        msg = f"{values.numel()} values came where one at least, and finite ones only, are expected: hold out images."
        raise ValueError(msg)
    exact = values.detach().flatten().cpu().double().numpy()
    least, most = explained(exact, quantile)
    return torch.tensor(min(max(limit(exact, quantile), least), most)).to(values)


def limit(values: np.ndarray, quantile: float) -> float:
    """Return the prediction limit of values (n,) whose cube roots are normal."""
    if len(values) == 1:
        return float(values[0])
    roots = np.cbrt(values)
    margin = student.ppf(quantile, len(roots) - 1) * sqrt(1 + 1 / len(roots))
    return float((roots.mean() + margin * roots.std(ddof=1)) ** 3)


def explained(values: np.ndarray, quantile: float) -> tuple[float, float]:
    """Return the lowest and the highest limit of values (n,) beside which chance explains how many are above it."""
    descending = np.concatenate([[inf], np.sort(values)[::-1], [-inf]])
    fewest, most = binom.ppf([CHANCE, 1 - CHANCE], len(values), 1 - quantile).astype(int)
    return float(descending[most + 1]), float(descending[fewest])
