"""Structural similarity as a residual (Wang et al., IEEE TIP 2004): 0 for equal, 1 for opposite structure."""

from typing import Final

import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor

WINDOW: Final = 11  # pixels
SIGMA: Final = 1.5
LIGHT, CONTRAST = 0.01**2, 0.03**2  # constants of the paper for images in [0, 1]


def dissimilarity(image: Tensor, other: Tensor) -> Tensor:
    """Return (1 - SSIM) / 2 of images (B, C, H, W) in [0, 1], the mean over channels (B, 1, H, W), in [0, 1]."""
    full = torch.promote_types(image.dtype, torch.float32)  # squares of half precision would be all rounding
    with torch.autocast(image.device.type, enabled=False):
        return ((1 - ssim(image.to(full), other.to(full))) / 2).mean(1, keepdim=True).to(image.dtype)


def ssim(image: Tensor, other: Tensor) -> Tensor:
    """Return the structural similarity of images (B, C, H, W), a map of the same shape in [-1, 1].

    It is kornia's, `kornia.metrics.ssim` with a window of 11 pixels, but for rounding. There a variance is the mean of
    squares less the square of the mean: in a smooth image these are nearly equal, and the constants small that their
    difference is compared with. torch and OpenVINO rounded so differently that a mask made of it could be another one
    after export. Here the image's mean is taken off first, and what differs is squared as a difference.
    """
    centre = image.mean((2, 3), keepdim=True)
    first, second = image - centre, other - centre
    parts = torch.cat([first, second, first.square() + second.square(), (first - second).square()], 1)
    blurred = gaussian_blur2d(parts, (WINDOW, WINDOW), (SIGMA, SIGMA), border_type="reflect")
    first, second, power, error = blurred.chunk(4, 1)
    shift = (first - second).square()
    light = shift / ((first + centre).square() + (second + centre).square() + LIGHT)
    structure = (error - shift) / (power - first.square() - second.square() + CONTRAST)
    return (1 - light) * (1 - structure)
