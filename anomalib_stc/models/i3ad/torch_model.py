"""I3AD (Nakanishi et al., 2020), after its abstract: inpaint what looks anomalous, look again, by turns."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from anomalib_stc.models.i3ad.adaptive_mask import AdaptiveMask
from anomalib_stc.models.i3ad.codebook import Codebook
from anomalib_stc.models.i3ad.inpainting import Filled, Inpainting, colour_error, composite
from anomalib_stc.models.i3ad.similarity import dissimilarity
from anomalib_stc.models.i3ad.training_masks import complementary
from anomalib_stc.parts.checks import check, check_known
from anomalib_stc.parts.features import GRID_STRIDE, TextureFeatures
from anomalib_stc.parts.score import AnomalyScore
from anomalib_stc.parts.scored_model import ScoredModel
from anomalib_stc.parts.sizes import check_size

MASKED_BY: Final = {"pixels": ("similarity",), "features": ("similarity", "feature"), "l1": ("l1",)}
FLOOR: Final = 0.02  # added to expected errors of colours in [0, 1]: what is black has none
ITERATIONS: Final = "0 or more, and 0 without inpainting"
AGGREGATIONS: Final = ("last", "mean", "mean_first", "mean_kept")


class Turn(NamedTuple):
    """One turn: what was hidden, what it was filled with, and how that differs from the image."""

    mask: Tensor  # (B, 1, H, W), 1 where hidden; the first turn hides everything, a part at a time
    image: Tensor  # (B, 3, H, W)
    residuals: dict[str, Tensor]  # (B, 1, h, w) by term, not calibrated


class Turns(NamedTuple):
    """What the model infers of an image: all turns, the first one first."""

    turns: list[Turn]

    @property
    def reconstruction(self) -> Tensor:
        """The image (B, 3, H, W) after the last turn."""
        return self.turns[-1].image


class I3adModel(ScoredModel):
    """Inpainting by complementary masks first, then by what the residual of the turn before calls anomalous.

    Args:
        features: Frozen features.
        codebook: Clusters of these, of which the network guesses one for every cell.
        inpaint: The network.
        mask: From a residual to the next mask.
        score: From residuals to map and score. Its terms are ``similarity`` (1 - SSIM of the pixels), ``feature``
            (how unlikely the image's features are under the network's guess) and ``colour`` (L1 over the error that
            the network expects).
        iterations: Turns after the first one.
        grid: Number of complementary masks of the first turn and the side of their cells in pixels; no masks, for a
            network that rebuilds what it sees (ablation).
        masked_by: Residual that makes the next mask: structural similarity of ``pixels``, or also of ``features``;
            ``l1`` for ablation.
        aggregation: Residual of an image from those of its turns: ``last``, ``mean``, ``mean_first`` (their mean and
            the first one's), or ``mean_kept`` (their mean, where a place that a turn did not hide counts as before; in
            the others it counts as zero).

    Raises:
        ValueError: If an argument is unknown or out of range.
    """

    def __init__(
        self,
        features: TextureFeatures,
        codebook: Codebook,
        inpaint: Inpainting,
        mask: AdaptiveMask,
        score: AnomalyScore,
        *,
        iterations: int,
        grid: tuple[int, int],
        masked_by: str,
        aggregation: str,
    ) -> None:
        super().__init__()
        check_known("Mask's residual", masked_by, tuple(MASKED_BY))
        check_known("Aggregation", aggregation, AGGREGATIONS)
        check("Iterations", iterations, iterations >= 0 and (iterations == 0 or grid[0] > 0), ITERATIONS)
        check("Grid cell", grid[1], grid[1] > 0 and grid[1] % GRID_STRIDE == 0, f"a multiple of {GRID_STRIDE} pixels")
        self.features = features
        self.codebook = codebook
        self.inpaint = inpaint
        self.mask = mask
        self.score = score
        self.suspicion = AnomalyScore(dict.fromkeys(MASKED_BY[masked_by], 1.0), sigma=0)
        self.iterations = iterations
        self.grid = grid
        self.aggregation = aggregation

    def infer(self, image: Tensor) -> Turns:
        """Inpaint images (B, 3, H, W), by turns."""
        check_size(image)
        with torch.no_grad():
            features = self.features(image)
        turns = [self.first(image, features)]
        for _ in range(self.iterations):
            mask = self.mask(self.suspicion.combine(turns[-1].residuals, image.shape[-2:]))
            turns.append(self.turn(image, features, mask, self.inpaint.fill(image, mask)))
        return Turns(turns)

    def first(self, image: Tensor, features: Tensor) -> Turn:
        """Inpaint every pixel exactly once; all complementary masks go through the network as one batch."""
        count, cell = self.grid
        everything = torch.ones_like(image[:, :1])
        if count == 0:
            return self.turn(image, features, everything, self.inpaint.fill(image, torch.zeros_like(everything)))
        masks = complementary(image.shape[-2], image.shape[-1], count, cell).to(image)[:, None]  # (n, 1, 1, H, W)
        every = masks * everything  # (n, B, 1, H, W)
        filled = self.inpaint.fill((image * torch.ones_like(masks)).flatten(0, 1), every.flatten(0, 1))
        scales = (masks, masks[..., ::GRID_STRIDE, ::GRID_STRIDE], masks[..., ::GRID_STRIDE, ::GRID_STRIDE])
        parts = [(part.unflatten(0, (count, -1)) * hidden).sum(0) for part, hidden in zip(filled, scales, strict=True)]
        return self.turn(image, features, everything, Filled(*parts))

    def turn(self, image: Tensor, features: Tensor, mask: Tensor, filled: Filled) -> Turn:
        """Lay what was filled over the image, and compare; what is not hidden is that of the input."""
        shown = composite(image, mask, filled.image)
        wanted = {*self.suspicion.weights, *self.score.weights}
        seen = shown.clamp(0, 1)
        terms = {
            "similarity": lambda: dissimilarity(image, seen),
            "feature": lambda: self.codebook(filled.guess, features) * mask[..., ::GRID_STRIDE, ::GRID_STRIDE],
            "colour": lambda: colour_error(image, seen) / (filled.doubt.exp() + FLOOR),
            "l1": lambda: (image - seen).abs().mean(1, keepdim=True),
        }
        return Turn(mask, shown, {name: term() for name, term in terms.items() if name in wanted})

    def residuals(self, image: Tensor, output: Turns) -> dict[str, Tensor]:
        """Return every term of the score as a map (B, 1, h, w), aggregated over the turns, not calibrated."""
        del image
        return {name: self.aggregate(output.turns, name) for name in self.score.weights}

    def aggregate(self, turns: Sequence[Turn], name: str) -> Tensor:
        """Return one residual of a term (B, 1, h, w) from those of all turns."""
        residuals = [turn.residuals[name] for turn in turns]
        if self.aggregation == "last":
            return residuals[-1]
        if self.aggregation == "mean_kept":
            residuals = kept(residuals, [turn.mask for turn in turns])
        mean = torch.stack(residuals).mean(0)
        return mean + residuals[0] if self.aggregation == "mean_first" else mean

    @torch.no_grad()
    def fit_thresholds(self, images: Iterator[Tensor]) -> None:
        """Set scale and threshold of the mask from the first turn of held-out normal images, batches (B, 3, H, W)."""
        first = [self.first(image, self.features(image)) for image in images]
        residuals = {name: torch.cat([turn.residuals[name] for turn in first]) for name in self.suspicion.weights}
        self.suspicion.calibrate({name: residual.mean() for name, residual in residuals.items()})
        self.mask.calibrate(self.suspicion.combine(residuals, first[0].mask.shape[-2:]))


def kept(residuals: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
    """Return residuals (B, 1, h, w) in which a place that a turn did not hide has that of the turn before."""
    result = [residuals[0]]
    for residual, mask in zip(residuals[1:], masks[1:], strict=True):
        step = mask.shape[-1] // residual.shape[-1]
        result.append(torch.where(mask[..., ::step, ::step] > 0, residual, result[-1]))
    return result
