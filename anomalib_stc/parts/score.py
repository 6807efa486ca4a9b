"""From residual maps to a calibrated anomaly map and an image score, inside the exported graph."""

from collections.abc import Callable, Mapping
from math import inf
from typing import Final, Literal, get_args

import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_stc.parts.checks import check, check_known, check_weights
from anomalib_stc.parts.rounding import EPSILON
from anomalib_stc.parts.sizes import resize_maps

ImageScore = Literal["max", "top", "mean"]
CELL = 4  # pixels of the side of the cells that the highest hundredth is taken of; the map is smoother than that
SHARE = 0.01


class AnomalyScore(nn.Module):
    """Weighted sum of residual maps, each divided by its mean on held-out normal images.

    Scales are buffers by name, ``scale_<term>``, not a number until they are calibrated, for terms of weight zero too:
    a checkpoint does not depend on the weights.

    Args:
        weights: Weight of every term that can be computed, none negative, one positive; those of weight zero are not
            computed for a map.
        sigma: Width of the Gaussian that smooths the map, in pixels; 0 for none.
        reduction: Image score from the smoothed map: ``max``, ``top`` for the mean of the highest hundredth, which one
            peak does not decide, or ``mean`` for diffuse anomalies.

    Raises:
        ValueError: If the reduction is unknown, or weights or width are out of range.
    """

    def __init__(self, weights: Mapping[str, float], sigma: float, reduction: ImageScore = "max") -> None:
        super().__init__()
        check_known("Image score", reduction, get_args(ImageScore))
        check_weights("Score weights", weights)
        check("Smoothing", sigma, 0 <= sigma < inf, "0 pixels or more, as 4")
        self.terms = tuple(weights)
        self.weights = {name: weight for name, weight in weights.items() if weight != 0}
        self.sigma = sigma
        self.reduction = reduction
        for name in self.terms:
            self.register_buffer(f"scale_{name}", torch.tensor(torch.nan))

    def scale(self, name: str) -> Tensor:
        """Return the scale () of a term."""
        return getattr(self, f"scale_{name}")

    @property
    def calibrated(self) -> bool:
        """Whether every term with a weight has a scale."""
        return all(bool(self.scale(name).isfinite()) for name in self.weights)

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
            resize_maps(residuals[name], size) * (weight / self.scale(name)) for name, weight in self.weights.items()
        ]
        return sum(terms[1:], terms[0]) / sum(self.weights.values())

    def smooth(self, anomaly_map: Tensor) -> Tensor:
        """Blur a map (B, 1, H, W) with the Gaussian of this score."""
        margin = self._margin
        if margin == 0:
            return anomaly_map
        self.check_size(anomaly_map.shape[-2:])
        side = 2 * margin + 1
        return gaussian_blur2d(anomaly_map, (side, side), (self.sigma, self.sigma), border_type="reflect")

    @property
    def _margin(self) -> int:
        """Pixels on each side that the Gaussian looks at; beyond the map's border it sees the map's reflection."""
        return round(3 * self.sigma)

    def check_size(self, size: tuple[int, ...]) -> None:
        """Raise a `ValueError` if the Gaussian is wider than maps of this height and width."""
        most = (min(size) - 1) // 3
        check("Smoothing", self.sigma, self._margin < min(size), f"at most {most} pixels where a side has {min(size)}")

    @torch.no_grad()
    def forget(self) -> None:
        """Be untrained again: the scales belong to other weights."""
        for name in self.terms:
            self.scale(name).fill_(torch.nan)

    @torch.no_grad()
    def calibrate(self, means: Mapping[str, Tensor]) -> None:
        """Set the scales of terms from their mean residuals on held-out normal images."""
        for name, mean in means.items():
            self.scale(name).copy_(mean.clamp(min=EPSILON))


def highest(anomaly_map: Tensor) -> Tensor:
    """Return the maxima (B,) of maps (B, 1, H, W)."""
    return anomaly_map.flatten(1).amax(1)


def top(anomaly_map: Tensor) -> Tensor:
    """Return the mean (B,) of the highest hundredth of the cells of maps (B, 1, H, W), one cell at least."""
    cells = F.avg_pool2d(anomaly_map, CELL, ceil_mode=True).flatten(1)
    return cells.topk(max(1, round(SHARE * cells.shape[1])), dim=1).values.mean(1)


def average(anomaly_map: Tensor) -> Tensor:
    """Return the means (B,) of maps (B, 1, H, W)."""
    return anomaly_map.flatten(1).mean(1)


REDUCTIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {"max": highest, "top": top, "mean": average}
