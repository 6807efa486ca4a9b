"""Thresholds that normal images alone set: a model's own, and those of a peer that has none."""

from typing import Any, Final, NamedTuple

import numpy as np
import torch

from anomalib_stc.host.post_processor import pixel_threshold, summary
from anomalib_stc.parts.quantile import upper_quantile

NONE: Final = float("nan")
RATE: Final = 0.05  # false alarms among normal images, where a job names no rate


class Thresholds(NamedTuple):
    """What is above these counts as anomalous; NaN where there is none."""

    image: float = NONE
    pixel: float = NONE
    host_image: float = NONE
    host_pixel: float = NONE

    @classmethod
    def of_model(cls, fitted: Any) -> "Thresholds":
        """Return those of a trained model's post-processor, on the scale that its scores are on."""
        return cls(float(fitted.image_threshold), float(fitted.pixel_threshold))

    @classmethod
    def of_normals(cls, scores: np.ndarray, maps: np.ndarray, rate: float) -> "Thresholds":
        """Return what held-out normal images set for a peer: quantiles as for our models, and anomalib's maxima.

        anomalib takes the highest score and pixel of a validation without anomalies.

        Args:
            scores: (n,), of held-out normal images.
            maps: (n, h, w), theirs.
            rate: Share of normal images that may be called anomalous; see `pixel_threshold` for what that is of pixels.
        """
        image = upper_quantile(torch.from_numpy(scores), 1 - rate)
        pixel = pixel_threshold(summary(torch.from_numpy(maps), rate), rate)
        return cls(float(image), float(pixel), float(scores.max()), float(maps.max()))
