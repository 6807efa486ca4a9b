"""Roots, lengths and quotients that stay finite where an image is black or flat, in every precision and every export.

One constant for all, sums and means that divide among them: exporters take an addend of 1e-8 for zero and leave it
out, and in half precision, the default of Intel's GPUs, 1e-8 is zero. So flat places had a root of zero in exports, and
what was divided by it was not a number.
"""

from typing import Final

from torch import Tensor
from torch.nn import functional as F

EPSILON: Final = 1e-4  # above the least normal number of half precision, 6e-5


def root(square: Tensor) -> Tensor:
    """Return the square root of what is not negative; never below .01, so that it can divide.

    Below, it is clamped and not added to: all other roots are what they were.
    """
    return square.clamp(min=EPSILON).sqrt()


def unit(vectors: Tensor, dim: int = 1) -> Tensor:
    """Return vectors along a dimension at unit length; those shorter than `EPSILON` stay short."""
    return F.normalize(vectors, dim=dim, eps=EPSILON)
