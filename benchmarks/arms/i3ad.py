"""I3AD with other parts: one arm for every claim that its arguments cannot ask about."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from anomalib_stc.models import I3ad
from anomalib_stc.models.i3ad.inpainting import Filled
from anomalib_stc.models.i3ad.torch_model import SUSPICION, I3adModel, Learnt, Turn
from anomalib_stc.parts.checks import check_known
from anomalib_stc.parts.sizes import checked


class Autoencoder(I3adModel):
    """Sees everything and is asked for everything."""

    def learn(self, image: Tensor) -> Learnt:
        """Rebuild images (B, 3, H, W)."""
        image = checked(image, self.dtype)
        everything = torch.ones_like(image[:, :1])
        return self.learnt(image, everything, self.inpaint.fill(image, 0 * everything))

    def first(self, image: Tensor, features: Tensor) -> Turn:
        """Rebuild images (B, 3, H, W) at once."""
        everything = torch.ones_like(image[:, :1])
        return self.turn(image, features, everything, self.inpaint.fill(image, 0 * everything))


class WithL1(I3adModel):
    """Knows one more residual, the ``l1`` difference of the pixels."""

    def terms(self, image: Tensor, features: Tensor, mask: Tensor, filled: Filled, seen: Tensor) -> dict[str, Tensor]:
        """Return every residual (B, 1, h, w) of a turn by its name; ``seen`` is what it shows."""
        known = super().terms(image, features, mask, filled, seen)
        return {**known, "l1": (image - seen).abs().mean(1, keepdim=True)}


class Last(I3adModel):
    """Scores the residual of the last turn."""

    def aggregate(self, turns: Sequence[Turn], name: str) -> Tensor:
        """Return a term (B, 1, h, w) of the last turn; a place that it did not hide has none."""
        return turns[-1].residuals[name]


class Mean(I3adModel):
    """Scores the mean residual of all turns."""

    def aggregate(self, turns: Sequence[Turn], name: str) -> Tensor:
        """Return the mean of a term (B, 1, h, w); a place that a turn did not hide counts as zero there."""
        return torch.stack([turn.residuals[name] for turn in turns]).mean(0)


class MeanFirst(Mean):
    """Scores the mean residual of all turns and that of the first."""

    def aggregate(self, turns: Sequence[Turn], name: str) -> Tensor:
        """Return the mean of a term (B, 1, h, w) and the first turn's, added."""
        return super().aggregate(turns, name) + turns[0].residuals[name]


GUESSED: Final = {"feature": 1.0, "colour": 1.0}  # weights of what I3AD trains
MASKED_BY: Final = {"pixels": {"similarity": 1.0}, "features": SUSPICION, "l1": {"l1": 1.0}}
AGGREGATIONS: Final[dict[str, type[I3adModel]]] = {"last": Last, "mean": Mean, "mean_first": MeanFirst}


def autoencoder(**arguments: Any) -> I3ad:
    """Return a network of the same size that rebuilds what it sees, without skip connections and without turns."""
    return rebuilt(no_skips(**{**arguments, "iterations": 0}), Autoencoder)


def no_skips(**arguments: Any) -> I3ad:
    """Return a model whose network has no skip connections."""
    model = I3ad(**arguments)
    model.model.inpaint.skips = 0.0
    return model


def masked_by(kind: str, **arguments: Any) -> I3ad:
    """Return a model whose masks are made by another residual.

    Args:
        kind: Structural similarity of the ``pixels``, or also that of the ``features`` (as the model itself), or
            ``l1``.
        **arguments: Of `I3ad`.

    Raises:
        ValueError: If there is no such residual.
    """
    check_known("Mask's residual", kind, MASKED_BY)
    return rebuilt(I3ad(**arguments), WithL1 if kind == "l1" else I3adModel, MASKED_BY[kind])


def aggregation(kind: str, **arguments: Any) -> I3ad:
    """Return a model that makes one residual of those of all turns in another way.

    Args:
        kind: Residual of the ``last`` turn, ``mean`` of all, or ``mean_first``, which adds that of the first.
        **arguments: Of `I3ad`.

    Raises:
        ValueError: If there is no such way.
    """
    check_known("Aggregation", kind, AGGREGATIONS)
    return rebuilt(I3ad(**arguments), AGGREGATIONS[kind])


def rebuilt(model: I3ad, network: type[I3adModel], suspicion: Mapping[str, float] = SUSPICION) -> I3ad:
    """Return a model whose network is of another class, with the same parts and other residuals for its masks."""
    names = ("features", "codebook", "inpaint", "mask", "score", "training_masks", "iterations", "cell")
    parts = {name: getattr(model.model, name) for name in names}
    model.model = network(**parts, suspicion=dict(suspicion))
    return model
