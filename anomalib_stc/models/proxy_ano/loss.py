"""Losses of ProxyAno: named, weighted terms."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_stc.models.proxy_ano.torch_model import Bridge
from anomalib_stc.parts.checks import check_weights
from anomalib_stc.parts.correspondence import value_loss
from anomalib_stc.parts.discriminator import PatchDiscriminator, adversarial_losses
from anomalib_stc.parts.window import random_window


class ProxyAnoLoss(nn.Module):
    """Terms of the generator and of the discriminator, ready to be summed and sent back in one pass.

    Args:
        weights: Weight of ``proxy``, ``value``, ``pixel`` and ``adversarial``; zero switches off.
        discriminator: The discriminator, or ``None`` without adversarial loss.
    """

    def __init__(self, weights: Mapping[str, float], discriminator: PatchDiscriminator | None) -> None:
        super().__init__()
        self.weights = check_weights("Loss weights", weights)
        self.discriminator = discriminator

    def forward(self, image: Tensor, proxy: Tensor, output: Bridge) -> dict[str, Tensor]:
        """Return the weighted terms by name; those with weight zero are neither computed nor returned.

        Args:
            image: Normal images (B, 3, H, W) in [0, 1].
            proxy: Their true proxies (B, 3, H, W).
            output: What the model inferred, pseudo anomalies included.
        """
        terms = {
            "proxy": lambda: F.l1_loss(output.proxy, proxy),
            "value": lambda: value_loss(output.texture, output.features),
            "pixel": lambda: F.l1_loss(output.reconstruction, image),
        }
        wanted = {name: self.weights[name] * term() for name, term in terms.items() if self.weights[name]}
        window = random_window(image, output.reconstruction)
        return wanted | adversarial_losses(self.discriminator, self.weights["adversarial"], *window)
