"""Pre-processing with the same pixels in training, test, prediction and export."""

from collections.abc import Sequence
from typing import Any

from anomalib.pre_processing import PreProcessor

from anomalib_stc.host.resize import ExactResize
from anomalib_stc.parts.sizes import IMAGE_SIZE, height_and_width


class ExactPreProcessor(PreProcessor):
    """anomalib's pre-processor with one resize for every stage, export included.

    anomalib's own turns anti-aliasing off in what it exports, so that an exported model sees other pixels than the
    one that was tested (by up to half of the value range). Here ``export_transform`` is ``transform``.

    Images come as (B, 3, H, W), or grey as (B, 1, H, W), floating point in 0..1, and leave as (B, 3, h, w) in 0..1,
    without normalisation by mean and deviation: a model that wants one does it inside.

    Args:
        image_size: Height and width the model works at, or one number for both.
        stride: Every side has to be a multiple of this, which is what the model divides sides by.

    Raises:
        ValueError: If a side is not a positive multiple of the stride.
    """

    def __init__(self, image_size: int | Sequence[int] = IMAGE_SIZE, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self._set_size(height_and_width(image_size, stride))

    def _set_size(self, size: tuple[int, int]) -> None:
        self.image_size = size
        self.transform = ExactResize(size)
        self.export_transform = self.transform

    def checkpoint_config(self) -> dict[str, Any]:
        """Image size and stride as plain numbers for the checkpoint."""
        return {"image_size": list(self.image_size), "stride": self.stride}

    def load_checkpoint_config(self, config: dict[str, Any]) -> None:
        """Restore what ``checkpoint_config`` returned."""
        self.stride = config["stride"]
        self._set_size(height_and_width(config["image_size"], self.stride))
