"""A high quantile from few values, such as the scores of the held-out images of a small folder."""

from math import sqrt

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor


def needed(quantile: float) -> float:
    """Return how many values tell a quantile by themselves: the next is above the highest of fewer more often."""
    return round(quantile / (1 - quantile), 6)


def upper_quantile(values: Tensor, quantile: float) -> Tensor:
    """Estimate the value () that the next value stays below with this probability.

    The next value is above the k-th of n with probability 1 - k / (n + 1), whatever their distribution. So with
    quantile / (1 - quantile) values or more (19 for 0.95, 99 for 0.99) the quantile lies at place quantile * (n + 1),
    interpolated linearly (numpy's "weibull"). With fewer, not even the highest is exceeded so seldom. Then the
    prediction limit of normal values, mean + t * deviation * sqrt(1 + 1/n) with Student's t, is taken where it is
    higher. One value has no deviation: it is the threshold.

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
    result = np.quantile(exact, quantile, method="weibull")
    if 1 < len(exact) < needed(quantile):
        margin = student.ppf(quantile, len(exact) - 1) * sqrt(1 + 1 / len(exact))
        result = max(result, exact.mean() + margin * exact.std(ddof=1))
    return torch.tensor(float(result)).to(values)
