"""What the models' networks share: infer, then score what does not fit."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from anomalib.data import InferenceBatch
from torch import Tensor, nn

from anomalib_stc.parts.memory import Memory
from anomalib_stc.parts.score import AnomalyScore


class ScoredModel(nn.Module, ABC):
    """A network that infers something of an image, and scores it by the residuals between the two."""

    score: AnomalyScore

    @property
    def memories(self) -> dict[str, Memory]:
        """Memories by name, of models that have some."""
        return {}

    @abstractmethod
    def infer(self, image: Tensor) -> Any:
        """Infer what is normal of images (B, 3, H, W)."""

    @abstractmethod
    def residuals(self, image: Tensor, output: Any) -> dict[str, Tensor]:
        """Return every term of the score as a map (B, 1, h, w), not calibrated."""

    def forward(self, image: Tensor) -> Any:
        """Return what was inferred in training, map and score in evaluation.

        Args:
            image: Images (B, 3, H, W) in [0, 1], sides multiples of 16.

        Raises:
            ValueError: If a side is not a multiple of 16 or below 64.
        """
        output = self.infer(image)
        return output if self.training else self.predict(image, output)

    def predict(self, image: Tensor, output: Any) -> InferenceBatch:
        """Score images from what was inferred of them."""
        anomaly_map, score = self.score(self.residuals(image, output), image.shape[-2:])
        return InferenceBatch(pred_score=score, anomaly_map=anomaly_map)

    def terms(self, image: Tensor) -> dict[str, Tensor]:
        """Return every term of the score of images (B, 3, H, W), for calibration."""
        return self.residuals(image, self.infer(image))

    def fit_thresholds(self, images: Iterator[Tensor]) -> None:
        """Set what inferring needs of held-out normal images, batches (B, 3, H, W), before the score is calibrated."""
        del images
