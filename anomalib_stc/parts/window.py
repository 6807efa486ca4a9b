"""A random part of an image, for losses that are means over positions."""

from types import EllipsisType

import torch
from torch import Tensor

Window = tuple[EllipsisType, slice, slice]


def random_window(image: Tensor) -> Window:
    """Return the place of a window of half the side, a multiple of 16 from 64 up, in images (B, 3, H, W)."""
    height, width = (max(64, side // 32 * 16) for side in image.shape[-2:])
    top = int(torch.randint(image.shape[-2] - height + 1, ()))
    left = int(torch.randint(image.shape[-1] - width + 1, ()))
    return (..., slice(top, top + height), slice(left, left + width))
