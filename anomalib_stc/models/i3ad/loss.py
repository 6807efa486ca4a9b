"""Losses of I3AD: named, weighted terms."""

from typing import ClassVar

from torch import Tensor

from anomalib_stc.models.i3ad.adaptive_mask import cell_means
from anomalib_stc.models.i3ad.inpainting import colour_error
from anomalib_stc.models.i3ad.similarity import dissimilarity
from anomalib_stc.models.i3ad.torch_model import Learnt
from anomalib_stc.parts.discriminator import HINGE, Game
from anomalib_stc.parts.losses import Losses, Terms
from anomalib_stc.parts.rounding import EPSILON

VISIBLE = 0.1  # weight of cells that are seen, beside hidden ones


class I3adLoss(Losses):
    """Terms ``masked``, ``unmasked``, ``similarity``, ``feature``, ``doubt`` and ``adversarial``."""

    game: ClassVar[Game] = HINGE

    def terms(self, image: Tensor, learnt: Learnt, original: Tensor, rebuilt: Tensor) -> Terms:
        """Return the terms of normal images (B, 3, H, W) in [0, 1].

        Structural similarity and adversarial loss look at one random window of half the side of the composite.
        """
        mask, filled = learnt.mask, learnt.filled
        hidden = cell_means(mask)
        return {
            "masked": lambda: weighted_l1(filled.image, image, mask),
            "unmasked": lambda: weighted_l1(filled.image, image, 1 - mask),
            "similarity": lambda: dissimilarity(original, rebuilt).mean(),
            "feature": lambda: weighted_mean(learnt.unlikely, VISIBLE + (1 - VISIBLE) * hidden),
            "doubt": lambda: weighted_mean(laplace(colour_error(image, filled.image).detach(), filled.doubt), hidden),
        }


def weighted_l1(image: Tensor, other: Tensor, weight: Tensor) -> Tensor:
    """Return the mean difference of images (B, C, H, W), weighted (B, 1, H, W); 0 where no weight is positive."""
    return ((image - other).abs() * weight).sum() / (weight.sum() * image.shape[1]).clamp(min=EPSILON)


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of maps (B, 1, h, w), weighted by others of that shape."""
    return (values * weight).sum() / weight.sum().clamp(min=EPSILON)


def laplace(error: Tensor, doubt: Tensor) -> Tensor:
    """Return the negative log likelihood of errors under a Laplace distribution of scale exp(doubt), constant left."""
    return (error + 1e-3) * (-doubt).exp() + doubt
