"""Structural similarity as a residual (Wang et al., IEEE TIP 2004): 0 for equal, 1 for opposite structure."""

from kornia.metrics import ssim
from torch import Tensor

WINDOW = 11  # pixels, Gaussian of 1.5; kornia pads by reflection


def dissimilarity(image: Tensor, other: Tensor) -> Tensor:
    """Return (1 - SSIM) / 2 of images (B, C, H, W) in [0, 1], the mean over channels (B, 1, H, W), in [0, 1]."""
    return ((1 - ssim(image, other, WINDOW)) / 2).mean(1, keepdim=True)
