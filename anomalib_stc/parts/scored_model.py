"""What the models' networks share: prepare, learn, infer, then score what does not fit."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from anomalib.data import InferenceBatch
from torch import Tensor, nn

from anomalib_stc.parts.bank import MemoryBank
from anomalib_stc.parts.features import Seen, TextureFeatures, split
from anomalib_stc.parts.memory import Memory
from anomalib_stc.parts.score import AnomalyScore
from anomalib_stc.parts.sizes import checked

Normals = Callable[[], Iterator[Tensor]]  # batches (B, 3, H, W) in [0, 1], anew at every call


class Looked(NamedTuple):
    """What a score by the bank alone needs of images."""

    seen: Seen


class ScoredModel(nn.Module, ABC):
    """A network that infers something of an image, and scores it by the residuals between the two."""

    features: TextureFeatures
    score: AnomalyScore
    bank: MemoryBank | None  # of normal features; its terms of the score need no training

    def __init__(self) -> None:
        super().__init__()
        self.bank = None

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

    @property
    def known_scores(self) -> Tensor | None:
        """Scores (n,) of a bank's own images, each by a bank of others; ``None`` if no bank tells images apart."""
        return self.bank.known_scores if self.bank is not None and self.score.by_bank else None

    @torch.no_grad()
    def prepare(self, normals: list[Tensor], seed: int, held_out: Sequence[Tensor] = ()) -> None:
        """Fill bank, memories and the like from some normal images, once before training.

        Args:
            normals: Batches (B, 3, H, W) in [0, 1], one image in all at least, all of one size.
            seed: Seed of what is drawn and clustered; the global random state is left as it was.
            held_out: Batches of images that nothing is trained on. A bank knows them too: it leaves an image out when
                it looks at it.

        Raises:
            ValueError: See `check_size`.
        """
        seen = self.fill_bank(normals, seed, held_out)[len(held_out) :]
        self.start([batch.image for batch in seen], [batch.features for batch in seen], seed)

    @torch.no_grad()
    def fill_bank(self, normals: list[Tensor], seed: int, held_out: Sequence[Tensor] = ()) -> list[Seen]:
        """Fill the bank alone, if there is one; return all images, held-out ones first. Arguments as of `prepare`."""
        self.check_size(normals[0].shape[-2:])
        seen = [self.features.see(checked(batch, self.dtype)) for batch in [*held_out, *normals]]
        if self.bank is not None:
            self.bank.fit(seen, seed)
            self._remember(self.bank, seen)
        return seen

    @torch.no_grad()
    def remember(self, normals: list[Tensor]) -> None:
        """Score a bank's own images anew, by the weights of the score of today; the images as they came to it."""
        if self.bank is not None:
            self._remember(self.bank, [self.features.see(checked(batch, self.dtype)) for batch in normals])

    def _remember(self, bank: MemoryBank, seen: list[Seen]) -> None:
        """Set the curves of a bank's terms, and the scores of its images if it gives them."""
        names = [name for name in self.score.terms if name not in self.score.own]
        found = [bank.without(one, [number], names) for number, one in enumerate(split(seen))]
        self.score.calibrate({name: torch.cat([batch[name] for batch in found]) for name in names})
        if self.score.by_bank:
            size = seen[0].image.shape[-2:]
            self.score.know(torch.cat([self.score.telling_cells(batch, size) for batch in found]))
            crossed = bank.crossed(seen, self.score.telling)
            bank.keep(self.score.reduce(self.score.telling_cells(crossed, size)))
        else:
            self.score.know_none()
            bank.keep(bank.scores[:0])

    @abstractmethod
    def start(self, images: list[Tensor], features: list[Tensor], seed: int) -> None:
        """Fill what a model has of its own from normal images.

        Args:
            images: Batches (B, 3, H, W), see `checked`.
            features: Their texture features (B, C, H/8, W/8).
            seed: See `prepare`.
        """

    @abstractmethod
    def learn(self, image: Tensor) -> Any:
        """Return what a loss needs of images, see `checked`; every random choice of a training step is made here.

        It has a ``reconstruction`` (B, 3, H, W) and a ``window`` of it, see `Losses`.
        """

    @abstractmethod
    def infer(self, image: Tensor) -> Any:
        """Infer what is normal of images, see `checked`. No random number is in it.

        It has a ``reconstruction`` (B, 3, H, W), and the image as it was ``seen`` where the model has a bank.
        """

    def residuals(self, inferred: Any, names: Collection[str], known: Sequence[int] | None = None) -> dict[str, Tensor]:
        """Return the named terms of the score as maps (B, 1, h, w), not calibrated.

        Args:
            inferred: What `infer` said of images; it holds what they are compared with.
            names: Terms to compute.
            known: Numbers of these images in the bank that was made of them: each is compared with the others.
        """
        trained = [name for name in names if name in self.score.own]
        own = self.own_residuals(inferred, trained) if trained else {}
        if self.bank is None:
            return own
        others = [name for name in names if name not in self.score.own]
        if known is None:
            return {**own, **self.bank(inferred.seen, others)}
        return {**own, **self.bank.without(inferred.seen, known, others)}

    @abstractmethod
    def own_residuals(self, inferred: Any, names: Collection[str]) -> dict[str, Tensor]:
        """Return the named terms of what was trained, see `residuals`; none is finer than cells of 4 pixels."""

    def forward(self, image: Tensor) -> Any:
        """Return what was learnt in training, map and score in evaluation.

        Args:
            image: Images (B, 3, H, W) in [0, 1], sides multiples of 16.

        Raises:
            ValueError: If they are not, see `checked`.
        """
        return self.learn(image) if self.training else self.scored(image)

    def scored(self, image: Tensor, known: Sequence[int] | None = None) -> InferenceBatch:
        """Score images (B, 3, H, W) and infer no more than that needs; ``known`` as of `residuals`."""
        if self.score.asks_trained:
            return self.predict(image, self.infer(image), known)
        return self.predict(image, Looked(self.features.see(checked(image, self.dtype))), known)

    def predict(self, image: Tensor, inferred: Any, known: Sequence[int] | None = None) -> InferenceBatch:
        """Score images from what was inferred of them: here the exported graph's outputs get their names.

        Args:
            image: Images (B, 3, H, W).
            inferred: What `infer` said of them.
            known: See `residuals`.
        """
        residuals = self.residuals(inferred, self.score.weights, known)
        anomaly_map, score = self.score(residuals, image.shape[-2:])
        return InferenceBatch(pred_score=score, anomaly_map=anomaly_map)

    @torch.no_grad()
    def calibrate(self, normals: Normals) -> None:
        """Set the curve of every term of what was trained from held-out normal images."""
        found: dict[str, list[Tensor]] = {name: [] for name in self.score.own}
        for image in normals():
            for name, residual in self.own_residuals(self.infer(image), self.score.own).items():
                found[name].append(residual.flatten())
        self.score.calibrate({name: torch.cat(values) for name, values in found.items()})
