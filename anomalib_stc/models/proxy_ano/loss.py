"""Losses of ProxyAno: named, weighted terms."""

from torch import Tensor
from torch.nn import functional as F

from anomalib_stc.models.proxy_ano.torch_model import Learnt
from anomalib_stc.parts.correspondence import value_loss
from anomalib_stc.parts.losses import Losses, Terms


class ProxyAnoLoss(Losses):
    """Terms ``proxy``, ``value``, ``pixel`` and ``adversarial``."""

    def terms(self, image: Tensor, learnt: Learnt, original: Tensor, rebuilt: Tensor) -> Terms:
        """Return the terms of normal images (B, 3, H, W) in [0, 1], pseudo anomalies on some of their proxies."""
        return {
            "proxy": lambda: F.l1_loss(learnt.inferred.proxy, learnt.proxy),
            "value": lambda: value_loss(learnt.inferred.texture, learnt.inferred.seen.features),
            "pixel": lambda: F.l1_loss(learnt.reconstruction, image),
        }
