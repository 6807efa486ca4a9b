"""Losses of I3AD: named, weighted terms."""

from collections.abc import Mapping

from torch import Tensor, nn

from anomalib_stc.models.i3ad.adaptive_mask import cells
from anomalib_stc.models.i3ad.inpainting import Filled, colour_error, composite
from anomalib_stc.models.i3ad.similarity import dissimilarity
from anomalib_stc.parts.checks import check_weights
from anomalib_stc.parts.discriminator import HINGE, PatchDiscriminator, adversarial_losses
from anomalib_stc.parts.window import random_window

VISIBLE = 0.1  # weight of cells that are seen, beside hidden ones


class I3adLoss(nn.Module):
    """Terms of the generator and of the discriminator, ready to be summed and sent back in one pass.

    Args:
        weights: Weight of ``masked``, ``unmasked``, ``similarity``, ``feature``, ``doubt`` and ``adversarial``; zero
            switches off.
        discriminator: The discriminator, or ``None`` without adversarial loss.
    """

    def __init__(self, weights: Mapping[str, float], discriminator: PatchDiscriminator | None) -> None:
        super().__init__()
        self.weights = check_weights("Loss weights", weights)
        self.discriminator = discriminator

    def forward(self, image: Tensor, mask: Tensor, filled: Filled, unlikely: Tensor) -> dict[str, Tensor]:
        """Return the weighted terms by name; those with weight zero are neither computed nor returned.

        Structural similarity and adversarial loss look at one random window of half the side of the composite.

        Args:
            image: Normal images (B, 3, H, W) in [0, 1].
            mask: What was hidden (B, 1, H, W), 1 there.
            filled: What the network said of every place.
            unlikely: How unlikely the features of every cell are under the network's guess (B, 1, H/8, W/8).
        """
        original, rebuilt = random_window(image, composite(image, mask, filled.image))
        hidden = cells(mask)
        terms = {
            "masked": lambda: weighted_l1(filled.image, image, mask),
            "unmasked": lambda: weighted_l1(filled.image, image, 1 - mask),
            "similarity": lambda: dissimilarity(original, rebuilt).mean(),
            "feature": lambda: weighted_mean(unlikely, VISIBLE + (1 - VISIBLE) * hidden),
            "doubt": lambda: weighted_mean(laplace(colour_error(image, filled.image).detach(), filled.doubt), hidden),
        }
        wanted = {name: self.weights[name] * term() for name, term in terms.items() if self.weights[name]}
        return wanted | adversarial_losses(self.discriminator, self.weights["adversarial"], original, rebuilt, HINGE)


def weighted_l1(image: Tensor, other: Tensor, weight: Tensor) -> Tensor:
    """Return the mean difference of images (B, C, H, W), weighted (B, 1, H, W); 0 where no weight is positive."""
    return ((image - other).abs() * weight).sum() / (weight.sum() * image.shape[1]).clamp(min=1e-6)


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of maps (B, 1, h, w), weighted by others of that shape."""
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)


def laplace(error: Tensor, doubt: Tensor) -> Tensor:
    """Return the negative log likelihood of errors under a Laplace distribution of scale exp(doubt), constant left."""
    return (error + 1e-3) * (-doubt).exp() + doubt
