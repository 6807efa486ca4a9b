"""What the models' networks share: prepare, learn, infer, then score what does not fit."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch
from anomalib.data import InferenceBatch
from torch import Tensor, nn

from anomalib_stc.parts.features import TextureFeatures
from anomalib_stc.parts.memory import Memory
from anomalib_stc.parts.score import AnomalyScore

Normals = Callable[[], Iterator[Tensor]]  # batches (B, 3, H, W) in [0, 1], anew at every call


class ScoredModel(nn.Module, ABC):
    """A network that infers something of an image, and scores it by the residuals between the two."""

    features: TextureFeatures
    score: AnomalyScore

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights: images are brought to it."""
        return next(self.parameters()).dtype

    @property
    def memories(self) -> dict[str, Memory]:
        """Memories by name, of models that have some."""
        return {}

    def check_size(self, size: tuple[int, ...]) -> None:
        """Raise a `ValueError` if a part cannot work at this height and width, before anything runs."""
        self.score.check_size(size)

    @abstractmethod
    def prepare(self, normals: list[Tensor], seed: int) -> None:
        """Fill memories and the like from some normal images, once before training.

        Args:
            normals: Batches (B, 3, H, W) in [0, 1], one image in all at least.
            seed: Seed of what is drawn and clustered; the global random state is left as it was.
        """

    @abstractmethod
    def learn(self, image: Tensor) -> Any:
        """Return what a loss needs of images, see `checked`; every random choice of a training step is made here.

        It has a ``reconstruction`` (B, 3, H, W) and a ``window`` of it, see `Losses`.
        """

    @abstractmethod
    def infer(self, image: Tensor) -> Any:
        """Infer what is normal of images, see `checked`; it has a ``reconstruction``. No random number is in it."""

    @abstractmethod
    def residuals(self, inferred: Any, names: Collection[str]) -> dict[str, Tensor]:
        """Return the named terms of the score as maps (B, 1, h, w), not calibrated.

        Args:
            inferred: What `infer` said of images; it holds what they are compared with.
            names: Terms to compute.
        """

    def forward(self, image: Tensor) -> Any:
        """Return what was learnt in training, map and score in evaluation.

        Args:
            image: Images (B, 3, H, W) in [0, 1], sides multiples of 16.

        Raises:
            ValueError: If they are not, see `checked`.
        """
        return self.learn(image) if self.training else self.predict(image, self.infer(image))

    def predict(self, image: Tensor, inferred: Any) -> InferenceBatch:
        """Score images from what was inferred of them: here the exported graph's outputs get their names."""
        residuals = self.residuals(inferred, self.score.weights)
        anomaly_map, score = self.score(residuals, image.shape[-2:])
        return InferenceBatch(pred_score=score, anomaly_map=anomaly_map)

    @torch.no_grad()
    def calibrate(self, normals: Normals) -> None:
        """Set the scale of every term of the score from held-out normal images."""
        self.score.calibrate(mean_residuals(self, normals()))


def mean_residuals(model: ScoredModel, normals: Iterator[Tensor]) -> dict[str, Tensor]:
    """Return the mean of every term of the score over images, batches (B, 3, H, W)."""
    total: dict[str, Tensor] = {}
    count = 0
    for image in normals:
        for name, term in model.residuals(model.infer(image), model.score.terms).items():
            total[name] = total.get(name, torch.zeros((), device=image.device)) + term.mean() * len(image)
        count += len(image)
    return {name: value / count for name, value in total.items()}
