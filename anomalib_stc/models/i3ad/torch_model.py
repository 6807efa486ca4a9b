"""I3AD (Nakanishi et al., 2020), after its abstract: inpaint what looks anomalous, look again, by turns."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from anomalib_stc.models.i3ad.adaptive_mask import AdaptiveMask, cell_means
from anomalib_stc.models.i3ad.inpainting import Filled, Inpainting, colour_error, composite
from anomalib_stc.models.i3ad.similarity import dissimilarity
from anomalib_stc.models.i3ad.training_masks import TrainingMasks, complementary
from anomalib_stc.parts.bank import MemoryBank
from anomalib_stc.parts.checks import check, check_whole
from anomalib_stc.parts.codebook import Codebook
from anomalib_stc.parts.features import GRID_STRIDE, Seen, TextureFeatures
from anomalib_stc.parts.score import AnomalyScore
from anomalib_stc.parts.scored_model import Normals, ScoredModel
from anomalib_stc.parts.sizes import checked, in_cells, resize_maps
from anomalib_stc.parts.window import Window, random_window

FLOOR: Final = 0.02  # added to expected errors of colours in [0, 1]: what is black has none
GRID_MASKS: Final = 3  # of the first turn, as RIAD
SUSPICION: Final = {"similarity": 1.0, "feature": 1.0}  # what makes a mask: pixels and features


class Turn(NamedTuple):
    """One turn: what was hidden, what it was filled with, and how that differs from the image."""

    mask: Tensor  # (B, 1, H, W), 1 where hidden; the first turn hides everything, a part at a time
    image: Tensor  # (B, 3, H, W)
    residuals: dict[str, Tensor]  # (B, 1, h, w) by term, not calibrated


class Turns(NamedTuple):
    """What the model infers of an image: all turns, the first one first."""

    seen: Seen
    turns: list[Turn]

    @property
    def reconstruction(self) -> Tensor:
        """The image (B, 3, H, W) after the last turn."""
        return self.turns[-1].image


class Learnt(NamedTuple):
    """What the loss needs of an image."""

    mask: Tensor  # (B, 1, H, W): what was hidden, 1 there
    filled: Filled  # what the network said of every place
    unlikely: Tensor  # (B, 1, H/8, W/8): how unlikely the features of every cell are under the network's guess
    reconstruction: Tensor  # (B, 3, H, W): the image where it was seen, what was filled elsewhere
    window: Window


class I3adModel(ScoredModel):
    """Inpainting by complementary masks first, then by what the residual of the turn before calls anomalous.

    Args:
        features: Frozen features.
        codebook: Clusters of these, of which the network guesses one for every cell.
        inpaint: The network.
        mask: From the residual that makes masks to the mask of the next turn.
        score: From residuals to map and score. Its terms are the bank's, ``similarity``, ``feature`` and
            ``colour``.
        training_masks: Random masks for training.
        iterations: Turns after the first.
        cell: Side in pixels of what the first turn hides at a time, a multiple of 8.
        suspicion: Weights of the residuals that make masks.

    Raises:
        ValueError: If the turns or the cell are out of range.
    """

    def __init__(
        self,
        features: TextureFeatures,
        codebook: Codebook,
        inpaint: Inpainting,
        mask: AdaptiveMask,
        score: AnomalyScore,
        training_masks: TrainingMasks,
        iterations: int,
        cell: int,
        suspicion: dict[str, float] = SUSPICION,
    ) -> None:
        super().__init__()
        check_whole("Iterations", iterations, 0)
        check_whole("Cell", cell, GRID_STRIDE)
        check("Cell", cell, cell % GRID_STRIDE == 0, f"a multiple of {GRID_STRIDE} pixels")
        self.features = features
        self.codebook = codebook
        self.inpaint = inpaint
        self.mask = mask
        self.bank = MemoryBank(features)
        self.score = score
        self.training_masks = training_masks
        self.suspicion = AnomalyScore(suspicion, sigma=0)
        self.iterations = iterations
        self.cell = cell

    def check_size(self, size: tuple[int, ...]) -> None:
        """Raise a `ValueError` if smoothing, mask or cells do not fit this height and width."""
        super().check_size(size)
        self.mask.check_size(size)
        check("Cell", self.cell, self.cell < max(size), f"less than the image's {max(size)} pixels")

    @torch.no_grad()
    def start(self, images: list[Tensor], features: list[Tensor], seed: int) -> None:
        """Find the clusters of normal images, and how often each occurs."""
        del images
        self.codebook.fit(features, seed)
        self.inpaint.expect(self.codebook.frequency)

    def learn(self, image: Tensor) -> Learnt:
        """Fill random masks of images (B, 3, H, W)."""
        image = checked(image, self.dtype)
        mask = self.training_masks(image)
        return self.learnt(image, mask, self.inpaint.fill(image, mask))

    def learnt(self, image: Tensor, mask: Tensor, filled: Filled) -> Learnt:
        """Return what the loss needs of images (B, 3, H, W) and what the network said of their masks (B, 1, H, W)."""
        with torch.no_grad():
            features = self.features(image)
        unlikely = self.codebook(filled.guess, features)
        return Learnt(mask, filled, unlikely, composite(image, mask, filled.image), random_window(image))

    def infer(self, image: Tensor) -> Turns:
        """Inpaint images (B, 3, H, W), by turns."""
        image = checked(image, self.dtype)
        with torch.no_grad():
            seen = self.features.see(image)
        turns = [self.first(image, seen.features)]
        for _ in range(self.iterations):
            mask = self.mask(self.suspicious(turns[-1]))
            turns.append(self.turn(image, seen.features, mask, self.inpaint.fill(image, mask)))
        return Turns(seen, turns)

    def first(self, image: Tensor, features: Tensor) -> Turn:
        """Inpaint every pixel exactly once; all complementary masks go through the network as one batch."""
        everything = torch.ones_like(image[:, :1])
        masks = complementary(image.shape[-2], image.shape[-1], GRID_MASKS, self.cell).to(image)[:, None]
        every = masks * everything  # (n, B, 1, H, W)
        filled = self.inpaint.fill((image * torch.ones_like(masks)).flatten(0, 1), every.flatten(0, 1))
        scales = (masks, masks[..., ::GRID_STRIDE, ::GRID_STRIDE], masks[..., ::GRID_STRIDE, ::GRID_STRIDE])
        parts = [
            (part.unflatten(0, (GRID_MASKS, -1)) * hidden).sum(0) for part, hidden in zip(filled, scales, strict=True)
        ]
        return self.turn(image, features, everything, Filled(*parts))

    def turn(self, image: Tensor, features: Tensor, mask: Tensor, filled: Filled) -> Turn:
        """Lay what was filled over the image, and compare; what is not hidden is that of the input."""
        shown = composite(image, mask, filled.image)
        return Turn(mask, shown, self.terms(image, features, mask, filled, shown.clamp(0, 1)))

    def terms(self, image: Tensor, features: Tensor, mask: Tensor, filled: Filled, seen: Tensor) -> dict[str, Tensor]:
        """Return every residual (B, 1, h, w) of a turn by its name; ``seen`` is what it shows."""
        return {
            "similarity": dissimilarity(image, seen),
            "feature": self.codebook(filled.guess, features) * mask[..., ::GRID_STRIDE, ::GRID_STRIDE],
            "colour": colour_error(image, seen) / (filled.doubt.exp() + FLOOR),
        }

    def own_residuals(self, inferred: Turns, names: Collection[str]) -> dict[str, Tensor]:
        """Return the named terms of what was trained as maps (B, 1, h, w), aggregated over the turns."""
        size = inferred.seen.image.shape[-2:]
        return {name: in_cells(self.aggregate(inferred.turns, name), size) for name in names}

    def aggregate(self, turns: Sequence[Turn], name: str) -> Tensor:
        """Return the mean of a term (B, 1, h, w) over the turns; a place that one did not hide keeps its residual."""
        return torch.stack(kept([turn.residuals[name] for turn in turns], [turn.mask for turn in turns])).mean(0)

    @torch.no_grad()
    def calibrate(self, normals: Normals) -> None:
        """Set the mask's scale and threshold from the first turn of held-out normal images, then the score's scales.

        Of an image a number a cell and term is kept, 8 KiB at 256 px: the mask's residual is a sum of these terms.
        """
        images = (checked(image, self.dtype) for image in normals())
        first = [self.suspicious_cells(self.first(image, self.features(image))) for image in images]
        cells = {name: torch.cat([turn[name] for turn in first]) for name in self.suspicion.terms}
        self.suspicion.calibrate(cells)
        self.mask.calibrate(self.suspicion_of(cells))
        super().calibrate(normals)

    def suspicious_cells(self, turn: Turn) -> dict[str, Tensor]:
        """Return the cells' means (B, 1, H/8, W/8) of the mask's residuals of a turn, by term."""
        size = turn.image.shape[-2:]
        return {name: cell_means(resize_maps(turn.residuals[name], size)) for name in self.suspicion.terms}

    def suspicious(self, turn: Turn) -> Tensor:
        """Return how suspicious the cells (B, 1, H/8, W/8) of a turn are."""
        return self.suspicion_of(self.suspicious_cells(turn))

    def suspicion_of(self, cells: Mapping[str, Tensor]) -> Tensor:
        """Return the same from the cells' residuals, by term."""
        return self.suspicion.combine(cells, next(iter(cells.values())).shape[-2:])


def kept(residuals: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
    """Return residuals (B, 1, h, w) in which a place that a turn did not hide has that of the turn before."""
    result = [residuals[0]]
    for residual, mask in zip(residuals[1:], masks[1:], strict=True):
        step = mask.shape[-1] // residual.shape[-1]
        result.append(torch.where(mask[..., ::step, ::step] > 0, residual, result[-1]))
    return result
