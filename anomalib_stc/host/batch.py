"""anomalib's batches and items with more fields: the reconstruction, the proxy it came from, turns that led to it."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from anomalib.data import ImageBatch, ImageItem, InferenceBatch, NumpyImageBatch, NumpyImageItem
from anomalib.data.dataclasses.generic import FieldDescriptor
from torch import Tensor


@dataclass
class _NumpyReconstruction:
    """Fields that anomalib checks and lays out, channels last, as it does the image."""

    # One descriptor for all instances, as in anomalib's own classes.
    reconstruction: FieldDescriptor[np.ndarray | None] = FieldDescriptor("validate_reconstruction")  # noqa: RUF009
    proxy: FieldDescriptor[np.ndarray | None] = FieldDescriptor("validate_reconstruction")  # noqa: RUF009
    turns: np.ndarray | None = None

    def validate_reconstruction(self, value: np.ndarray | None) -> np.ndarray | None:
        """Treat a reconstruction or a proxy as an image; it may be missing."""
        return None if value is None else self.validate_image(value)  # type: ignore[attr-defined]


@dataclass
class NumpyReconstructionItem(_NumpyReconstruction, NumpyImageItem):
    """One image with its reconstruction and proxy (H, W, 3) in numpy."""


@dataclass
class NumpyReconstructionBatch(_NumpyReconstruction, NumpyImageBatch):
    """A batch with its reconstructions and proxies (B, H, W, 3) in numpy."""

    item_class: ClassVar[type[NumpyImageItem]] = NumpyReconstructionItem


@dataclass
class ReconstructionItem(ImageItem):
    """One image with its reconstruction and proxy (3, H, W)."""

    numpy_class: ClassVar[type[NumpyImageItem]] = NumpyReconstructionItem
    reconstruction: Tensor | None = None
    proxy: Tensor | None = None
    turns: Tensor | None = None  # (T, 5, H, W): image, mask and suspicion


@dataclass
class ReconstructionBatch(ImageBatch):
    """A batch with its reconstructions and proxies (B, 3, H, W); its items hold theirs."""

    item_class: ClassVar[type[ImageItem]] = ReconstructionItem
    numpy_class: ClassVar[type[NumpyImageBatch]] = NumpyReconstructionBatch
    reconstruction: Tensor | None = None
    proxy: Tensor | None = None
    turns: Tensor | None = None  # (B, T, 5, H, W): image, mask, suspicion; until they are drawn


def with_reconstruction(
    batch: ImageBatch, predictions: InferenceBatch, reconstruction: Tensor, **pictures: Tensor
) -> ImageBatch:
    """Write predictions and pictures into a batch: the return value of a test or predict step.

    anomalib's post-processor, evaluator and visualizer share this one object, so it has to be changed in place: a
    batch becomes a ``ReconstructionBatch`` by changing its class. A data module's own kind of batch keeps its class
    and goes without them.

    Args:
        batch: What the data module gave; it is changed.
        predictions: What the model returned.
        reconstruction: The model's reconstruction (B, 3, H, W) in 0..1.
        pictures: What else a model has to show: ``proxy``, what it was rebuilt from (B, 3, H, W) in 0..1, and
            ``turns``, of a model that goes by turns (B, T, 5, H, W): image, mask and suspicion, in 0..1.
    """
    if type(batch) is ImageBatch:
        batch.__class__ = ReconstructionBatch
    seen: dict[str, Any] = {name: picture.detach() for name, picture in pictures.items()}
    return batch.update(reconstruction=reconstruction.detach(), **seen, **predictions._asdict())
