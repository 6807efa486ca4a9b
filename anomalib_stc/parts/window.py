"""A random part of an image, for losses that are means over positions."""

import torch
from torch import Tensor


def random_window(image: Tensor, reconstruction: Tensor) -> tuple[Tensor, Tensor]:
    """Cut the same window of half the side, a multiple of 16 from 64 up, out of images of one shape (B, 3, H, W)."""
    height, width = (max(64, side // 32 * 16) for side in image.shape[-2:])
    top = int(torch.randint(image.shape[-2] - height + 1, ()))
    left = int(torch.randint(image.shape[-1] - width + 1, ()))
    window = (..., slice(top, top + height), slice(left, left + width))
    return image[window], reconstruction[window]
