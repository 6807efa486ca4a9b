"""From residual maps to a calibrated anomaly map and an image score, inside the exported graph."""

from collections.abc import Callable, Mapping
from typing import Final

import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_stc.parts.checks import check_known, check_weights
from anomalib_stc.parts.rounding import EPSILON

CELL = 4  # pixels of the side of the cells that the highest hundredth is taken of; the map is smoother than that
SHARE = 0.01


class AnomalyScore(nn.Module):
    """Weighted sum of residual maps, each divided by its mean on held-out normal images.

    Args:
        weights: Weight of every term by its name; terms of weight zero are not computed.
        sigma: Width of the Gaussian that smooths the map, in pixels; 0 for none.
        reduction: Image score from the smoothed map, one of `REDUCTIONS`: ``max``, ``top`` for the mean of the highest
            hundredth, which one peak does not decide, or ``mean`` for diffuse anomalies.

    Raises:
        ValueError: If no weight is positive, one is negative, or the reduction is unknown.
    """

    def __init__(self, weights: Mapping[str, float], sigma: float, reduction: str = "max") -> None:
        super().__init__()
        weights = check_weights("Score weights", weights)
        self.weights = {name: weight for name, weight in weights.items() if weight != 0}
        check_known("Image score", reduction, REDUCTIONS)
        self.sigma = sigma
        self.reduction = reduction
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(len(self.weights)))

    def forward(self, residuals: Mapping[str, Tensor], size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Return the anomaly map (B, 1, *size) and the image score (B,).

        Args:
            residuals: One map (B, 1, h, w) a term, any resolution; must hold every term with a weight.
            size: Height and width of the map.
        """
        anomaly_map = self.smooth(self.combine(residuals, size))
        return anomaly_map, REDUCTIONS[self.reduction](anomaly_map)

    def combine(self, residuals: Mapping[str, Tensor], size: tuple[int, ...]) -> Tensor:
        """Return the weighted mean of the calibrated terms (B, 1, *size): about 1 on normal images."""
        terms = [
            resize(residuals[name], size) * (weight / scale)
            for (name, weight), scale in zip(self.weights.items(), self.scale, strict=True)
        ]
        return sum(terms[1:], terms[0]) / sum(self.weights.values())

    def smooth(self, anomaly_map: Tensor) -> Tensor:
        """Blur a map (B, 1, H, W) with the Gaussian of this score."""
        if self.sigma == 0:
            return anomaly_map
        side = 2 * round(3 * self.sigma) + 1
        return gaussian_blur2d(anomaly_map, (side, side), (self.sigma, self.sigma), border_type="reflect")

    @torch.no_grad()
    def calibrate(self, means: Mapping[str, Tensor]) -> None:
        """Set the scale of every term from its mean residual on held-out normal images."""
        self.scale.copy_(torch.stack([means[name] for name in self.weights]).clamp(min=EPSILON))


def highest(anomaly_map: Tensor) -> Tensor:
    """Return the maxima (B,) of maps (B, 1, H, W)."""
    return anomaly_map.flatten(1).amax(1)


def top(anomaly_map: Tensor) -> Tensor:
    """Return the mean (B,) of the highest hundredth of the cells of maps (B, 1, H, W), one cell at least."""
    cells = F.avg_pool2d(anomaly_map, CELL, ceil_mode=True).flatten(1)
    return cells.topk(max(1, round(SHARE * cells.shape[1])), dim=1).values.mean(1)


def mean(anomaly_map: Tensor) -> Tensor:
    """Return the means (B,) of maps (B, 1, H, W)."""
    return anomaly_map.flatten(1).mean(1)


REDUCTIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {"max": highest, "top": top, "mean": mean}


def resize(residual: Tensor, size: tuple[int, ...]) -> Tensor:
    """Bring maps (B, C, h, w) to the given size."""
    if residual.shape[-2:] == size:
        return residual
    return F.interpolate(residual, size=size, mode="bilinear", align_corners=False)
