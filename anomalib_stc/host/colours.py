"""The colours of anomaly maps: one scale for all maps of a run, red above the threshold only."""

from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

STOPS: Final = (0.0, 0.5, 1.0)  # of either half of the scale: up to the threshold, and above it
NORMAL: Final = ((0, 0, 143), (0, 0, 255), (0, 255, 255))  # blue to cyan, no red at all
ANOMALOUS: Final = ((255, 165, 0), (255, 0, 0), (127, 0, 0))  # orange to dark red, no blue at all
TINY: Final = 1e-6


def coloured(anomaly_map: Tensor | np.ndarray, threshold: float) -> Image.Image:
    """Colour a map by its values alone, so that a value has the same colour in every picture.

    The step from cyan to orange is at the threshold: what is red is what the predicted mask holds. The scale ends at 0
    and 1, as normalised maps do; a threshold above 1 is one of raw maps, whose scale ends at its double.

    Args:
        anomaly_map: Values (H, W) or (1, H, W); what lies outside the scale has the colour of the nearest end.
        threshold: Value up to which a pixel is normal.
    """
    values = torch.as_tensor(anomaly_map).detach().float().cpu().reshape(anomaly_map.shape[-2:]).numpy()
    top = 1 if threshold <= 1 else 2 * threshold
    normal = _between(NORMAL, values / max(threshold, TINY))
    anomalous = _between(ANOMALOUS, (values - threshold) / max(top - threshold, TINY))
    return Image.fromarray(np.where(values[..., None] > threshold, anomalous, normal).round().astype(np.uint8))


def _between(colours: tuple[tuple[int, int, int], ...], shares: np.ndarray) -> np.ndarray:
    """Return the colours (H, W, 3) at shares (H, W) of the way from the first colour to the last."""
    return np.stack([np.interp(shares, STOPS, channel) for channel in zip(*colours, strict=True)], axis=-1)
