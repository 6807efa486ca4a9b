"""What a model says of the test images, in memory and on disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from benchmarks.thresholds import Thresholds


class Predictions(NamedTuple):
    """Scores and maps of N images in the order of the data set."""

    paths: list[str]
    mask_paths: list[str]  # empty where an image has none
    labels: np.ndarray  # (N,) bool
    masks: np.ndarray  # (N, H, W) bool
    scores: np.ndarray  # (N,)
    maps: np.ndarray  # (N, H, W)
    reconstructions: np.ndarray | None = None  # (N, H, W, 3) uint8
    thresholds: Thresholds = Thresholds()

    @classmethod
    def of(cls, batches: Sequence[Any]) -> "Predictions":
        """Gather anomalib's batches; what a batch has not (a mask of a normal image, a score) is zero.

        Where masks lie is not known yet, see `with_mask_paths`: a batch that begins with a normal image names none.
        """
        size = batches[0].image.shape[-2:]
        return cls(
            [absolute(path) for batch in batches for path in batch.image_path],
            [""] * sum(len(batch.image) for batch in batches),
            gather(batches, "gt_label", ()).astype(bool),
            gather(batches, "gt_mask", size).astype(bool),
            gather(batches, "pred_score", ()).astype(np.float64),
            gather(batches, "anomaly_map", size),
            reconstructions(batches),
        )

    def with_mask_paths(self, samples: pd.DataFrame) -> "Predictions":
        """Return the same with the paths of the masks, as a data set's samples have them."""
        masks = samples["mask_path"].fillna("")
        known = {absolute(image): mask for image, mask in zip(samples["image_path"], masks, strict=True)}
        return self._replace(mask_paths=[absolute(known.get(path)) for path in self.paths])

    def save(self, folder: Path) -> None:
        """Write ``images.csv``, thresholds in every line, and ``maps.npz``."""
        table = {"path": self.paths, "mask": self.mask_paths, "label": self.labels.astype(int), "score": self.scores}
        thresholds = {f"{name}_threshold": value for name, value in self.thresholds._asdict().items()}
        pd.DataFrame({**table, **thresholds}).to_csv(folder / "images.csv", index=False)
        arrays: dict[str, Any] = {"maps": self.maps.astype(np.float16)}
        if self.reconstructions is not None:
            arrays["reconstructions"] = self.reconstructions
        np.savez_compressed(folder / "maps.npz", **arrays)


def absolute(path: str | None) -> str:
    """Return a path that holds from any working directory; none is empty."""
    return str(Path(path).resolve()) if path else ""


def gather(batches: Sequence[Any], field: str, size: Sequence[int]) -> np.ndarray:
    """Return a field of all batches as one array (N, *size), zeros where a batch has none."""
    values = []
    for batch in batches:
        value = getattr(batch, field, None)
        value = torch.zeros(len(batch.image), *size) if value is None else value
        values.append(value.detach().float().cpu().reshape(len(batch.image), *size))
    return torch.cat(values).numpy()


def reconstructions(batches: Sequence[Any]) -> np.ndarray | None:
    """Return the reconstructions (N, H, W, 3) as bytes, where the model has them."""
    if not all(isinstance(getattr(batch, "reconstruction", None), torch.Tensor) for batch in batches):
        return None
    images = torch.cat([batch.reconstruction.detach().float().cpu() for batch in batches])
    return (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
