"""Losses of STCM: named, weighted terms (weights of L1, adversarial and structure after P-Net's README)."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_stc.models.stcm.torch_model import StructureTexture
from anomalib_stc.parts.checks import check_weights
from anomalib_stc.parts.correspondence import value_loss
from anomalib_stc.parts.discriminator import PatchDiscriminator, adversarial_losses
from anomalib_stc.parts.window import random_window

Extract = Callable[[Tensor], dict[str, Tensor]]


class StcmLoss(nn.Module):
    """Terms of the generator and of the discriminator, ready to be summed and sent back in one pass.

    Args:
        weights: Weight of ``pixel``, ``branch``, ``value``, ``structure`` and ``adversarial``; zero switches off.
        discriminator: The discriminator, or ``None`` without adversarial loss.
    """

    def __init__(self, weights: Mapping[str, float], discriminator: PatchDiscriminator | None) -> None:
        super().__init__()
        self.weights = check_weights("Loss weights", weights)
        self.discriminator = discriminator

    def forward(self, image: Tensor, output: StructureTexture, extract: Extract) -> dict[str, Tensor]:
        """Return the weighted terms by name; those with weight zero are neither computed nor returned.

        Structure and adversarial loss look at one random window of half the side: both are means over positions, so
        the window changes their noise and not what they ask for, at a quarter of the cost.

        Args:
            image: Images (B, 3, H, W) in [0, 1].
            output: What the model inferred of them.
            extract: Gives the structures of images by name.
        """
        original, rebuilt = random_window(image, output.reconstruction)
        terms = {
            "pixel": lambda: F.l1_loss(output.reconstruction, image),
            "branch": lambda: mean([F.l1_loss(branch.image, image) for branch in output.branches.values()]),
            "value": lambda: mean([value_loss(texture, output.features) for texture in self.textures(output)]),
            "structure": lambda: structure_loss(original, rebuilt, extract),
        }
        wanted = {name: self.weights[name] * term() for name, term in terms.items() if self.weights[name]}
        return wanted | adversarial_losses(self.discriminator, self.weights["adversarial"], original, rebuilt)

    @staticmethod
    def textures(output: StructureTexture) -> list[Tensor]:
        """Return the fused texture and that of every branch."""
        return [output.texture, *(branch.texture for branch in output.branches.values())]


def structure_loss(image: Tensor, reconstruction: Tensor, extract: Extract) -> Tensor:
    """Return the mean difference of the structures of image and reconstruction; the gradient goes to the latter."""
    with torch.no_grad():
        wanted = extract(image)
    return mean([F.l1_loss(rebuilt, wanted[name]) for name, rebuilt in extract(reconstruction).items()])


def mean(terms: list[Tensor]) -> Tensor:
    """Return the mean of scalar terms."""
    return torch.stack(terms).mean()
