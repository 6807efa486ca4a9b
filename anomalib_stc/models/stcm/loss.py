"""Losses of STCM: named, weighted terms (weights of L1, adversarial and structure after P-Net's README)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from anomalib_stc.models.stcm.torch_model import Extract, Learnt
from anomalib_stc.parts.correspondence import value_loss
from anomalib_stc.parts.losses import Losses, Terms


class StcmLoss(Losses):
    """Terms ``pixel``, ``branch``, ``value``, ``structure`` and ``adversarial``."""

    def terms(self, image: Tensor, learnt: Learnt, original: Tensor, rebuilt: Tensor) -> Terms:
        """Return the terms of images (B, 3, H, W) in [0, 1].

        Structure and adversarial loss look at one random window of half the side: both are means over positions, so
        the window changes their noise and not what they ask for, at a quarter of the cost.
        """
        branches = learnt.inferred.branches.values()
        textures = [learnt.inferred.texture, *(branch.texture for branch in branches)]
        return {
            "pixel": lambda: F.l1_loss(learnt.reconstruction, image),
            "branch": lambda: mean([F.l1_loss(branch.image, image) for branch in branches]),
            "value": lambda: mean([value_loss(texture, learnt.inferred.seen.features) for texture in textures]),
            "structure": lambda: structure_loss(original, rebuilt, learnt.extract),
        }


def structure_loss(image: Tensor, reconstruction: Tensor, extract: Extract) -> Tensor:
    """Return the mean difference of the structures of images (B, 3, H, W); the gradient goes to the reconstruction."""
    with torch.no_grad():
        wanted = extract(image)
    return mean([F.l1_loss(rebuilt, wanted[name]) for name, rebuilt in extract(reconstruction).items()])


def mean(terms: list[Tensor]) -> Tensor:
    """Return the mean of scalar terms."""
    return torch.stack(terms).mean()
