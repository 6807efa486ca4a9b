"""From residual maps to a calibrated anomaly map and an image score, inside the exported graph."""

from collections.abc import Callable, Collection, Iterable, Mapping
from math import inf
from typing import Final, Literal, get_args

import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_stc.parts.checks import check, check_known, check_weights
from anomalib_stc.parts.contrast import medians
from anomalib_stc.parts.sizes import CELL, resize_maps
from anomalib_stc.parts.tail import KNOTS, fitted, rarity

ImageScore = Literal["top", "max", "mean"]
SHARE = 0.01
ANY = 1e4  # above every level, in half precision too


class AnomalyScore(nn.Module):
    """Weighted mean of residual maps, each as rare as it is among normal images; see `tail`.

    What is a little strange everywhere, as another light, is no defect: the image's own level, the median of its cells,
    is taken off map and image score. A black image is as strange everywhere as can be: a level above the highest of
    normal images is taken off only so far.

    Curves are buffers by name, ``scale_<term>``, not a number until they are calibrated, for terms of weight zero too:
    a checkpoint does not depend on the weights.

    What finds a defect's place is not what tells images apart: the image score takes the terms of a memory bank alone,
    but for local ones, where one of them has a weight. So it needs no hold-out: every image can be compared with a bank
    of others.

    Args:
        weights: Weight of every term that can be computed, none negative, one positive; those of weight zero are not
            computed for a map.
        sigma: Width of the Gaussian that smooths the map, in pixels; 0 for none.
        reduction: Image score from the smoothed cells: ``top`` for the mean of the highest hundredth above the image's
            level, ``max``, or ``mean`` of all of them.
        bank: Names of the terms that a bank gives.
        local: Those of them that the image score leaves out if there are others.

    Raises:
        ValueError: If the reduction is unknown, or weights or width are out of range.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        sigma: float,
        reduction: ImageScore = "top",
        bank: Collection[str] = (),
        local: Collection[str] = (),
    ) -> None:
        super().__init__()
        check_known("Image score", reduction, get_args(ImageScore))
        check_weights("Score weights", weights)
        check("Smoothing", sigma, 0 <= sigma < inf, "0 pixels or more, as 2")
        self.terms = tuple(weights)
        self.own = tuple(name for name in weights if name not in bank)  # terms of what was trained
        self.weights = {name: weight for name, weight in weights.items() if weight != 0}
        known = {name: weight for name, weight in self.weights.items() if name in bank}
        apart = {name: weight for name, weight in known.items() if name not in local}
        self.telling = apart or known or self.weights
        self.sigma = sigma
        self.reduction = reduction
        self.scale_bank_level: Tensor
        self.register_buffer("scale_bank_level", torch.tensor(ANY))  # the highest of normal images, if a bank has some
        for name in self.terms:
            self.register_buffer(f"scale_{name}", torch.full((KNOTS + 1,), torch.nan))

    def scale(self, name: str) -> Tensor:
        """Return the curve of a term."""
        return getattr(self, f"scale_{name}")

    @property
    def calibrated(self) -> bool:
        """Whether every term with a weight has a curve."""
        return all(bool(self.scale(name).isfinite().all()) for name in self.weights)

    @property
    def asks_trained(self) -> bool:
        """Whether a term of what was trained has a weight."""
        return not set(self.own).isdisjoint(self.weights)

    @property
    def by_bank(self) -> bool:
        """Whether the image score comes from a bank alone."""
        return set(self.own).isdisjoint(self.telling)

    def forward(self, residuals: Mapping[str, Tensor], size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Return the anomaly map (B, 1, *size) and the image score (B,).

        Args:
            residuals: One map (B, 1, h, w) a term, any resolution; must hold every term with a weight.
            size: Height and width of the map.
        """
        rare = self.rarities(residuals, self.weights)
        cells = self.smooth_cells(rare, self.weights, size)
        telling = cells if self.telling == self.weights else self.smooth_cells(rare, self.telling, size)
        common = level(telling)
        usual = self.usual(common)
        own = common if telling is cells else level(cells)
        return resize_maps(lowered(cells, own - (common - usual)), size), REDUCTIONS[self.reduction](telling, usual)

    def telling_cells(self, residuals: Mapping[str, Tensor], size: tuple[int, ...]) -> Tensor:
        """Return the cells (B, 1, H / 4, W / 4) that the image score is made of; its own terms are enough."""
        return self.smooth_cells(self.rarities(residuals, self.telling), self.telling, size)

    def reduce(self, cells: Tensor) -> Tensor:
        """Return the image score (B,) of telling cells (B, 1, h, w)."""
        return REDUCTIONS[self.reduction](cells, self.usual(level(cells)))

    def usual(self, common: Tensor) -> Tensor:
        """Return what is taken off of the levels (B,) of telling cells: no more than normal images have."""
        return torch.minimum(common, self.scale_bank_level)

    @torch.no_grad()
    def know(self, cells: Tensor) -> None:
        """Note how high the levels of normal images may be.

        Args:
            cells: Telling cells (n, 1, h, w) of a bank's images, each compared with the others.
        """
        self.scale_bank_level.copy_(level(cells).max())

    def know_none(self) -> None:
        """Undo `know`: the images of a bank say nothing where the score does not come from it."""
        self.scale_bank_level.fill_(ANY)

    def rarities(self, residuals: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
        """Return how rare the residuals (B, 1, h, w) of some terms are."""
        return {name: self.rarity(name, residuals[name]) for name in names}

    def rarity(self, name: str, residual: Tensor) -> Tensor:
        """Return how rare a term's residuals (B, 1, h, w) are."""
        return rarity(residual, self.scale(name))

    def combine(self, residuals: Mapping[str, Tensor], size: tuple[int, ...]) -> Tensor:
        """Return the weighted mean of the terms' rarity (B, 1, *size)."""
        return mean(self.rarities(residuals, self.weights), self.weights, size)

    def smooth_cells(self, rare: Mapping[str, Tensor], weights: Mapping[str, float], size: tuple[int, ...]) -> Tensor:
        """Return the mean of rarities (B, 1, H / 4, W / 4) of images of a size, smooth; no residual is finer."""
        return self.smooth(mean(rare, weights, (size[0] // CELL, size[1] // CELL)))

    def smooth(self, cells: Tensor) -> Tensor:
        """Blur a map (B, 1, h, w) of cells with the Gaussian of this score; beyond the border it sees a reflection."""
        margin = self._margin
        if margin == 0:
            return cells
        self.check_size((cells.shape[-2] * CELL, cells.shape[-1] * CELL))
        side, width = 2 * margin + 1, self.sigma / CELL
        return gaussian_blur2d(cells, (side, side), (width, width), border_type="reflect")

    @property
    def _margin(self) -> int:
        """Cells on each side that the Gaussian looks at."""
        return round(3 * self.sigma / CELL)

    def check_size(self, size: tuple[int, ...]) -> None:
        """Raise a `ValueError` if the Gaussian is wider than images of this height and width."""
        side = min(size) // CELL
        most = (side - 1) * CELL // 3
        check("Smoothing", self.sigma, self._margin < side, f"at most {most} pixels where a side has {min(size)}")

    @torch.no_grad()
    def forget(self) -> None:
        """Be untrained again: the curves belong to another bank or other weights."""
        for name in self.terms:
            self.scale(name).fill_(torch.nan)

    @torch.no_grad()
    def calibrate(self, normals: Mapping[str, Tensor]) -> None:
        """Set the curves of terms from their residuals, of any shape, on normal images that were not learnt from."""
        for name, residuals in normals.items():
            self.scale(name).copy_(fitted(residuals))


def mean(maps: Mapping[str, Tensor], weights: Mapping[str, float], size: tuple[int, ...]) -> Tensor:
    """Return the weighted mean (B, 1, *size) of maps (B, 1, h, w)."""
    terms = [resize_maps(maps[name], size) * weight for name, weight in weights.items()]
    return sum(terms[1:], terms[0]) / sum(weights.values())


def level(cells: Tensor) -> Tensor:
    """Return the medians (B,) of maps (B, 1, h, w), see `medians`."""
    return medians(cells)[:, 0]


def lowered(cells: Tensor, usual: Tensor) -> Tensor:
    """Return how far maps (B, 1, h, w) are above a level (B,); 0 below."""
    return F.relu(cells - usual[:, None, None, None])


def highest(cells: Tensor, usual: Tensor) -> Tensor:
    """Return the maxima (B,) of maps (B, 1, h, w)."""
    del usual
    return cells.flatten(1).amax(1)


def top(cells: Tensor, usual: Tensor) -> Tensor:
    """Return how far the mean of the highest hundredth of cells of maps (B, 1, h, w) is above a level (B,)."""
    flat = cells.flatten(1)
    return flat.topk(max(1, round(SHARE * flat.shape[1])), dim=1).values.mean(1) - usual


def average(cells: Tensor, usual: Tensor) -> Tensor:
    """Return the means (B,) of maps (B, 1, h, w)."""
    del usual
    return cells.flatten(1).mean(1)


REDUCTIONS: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {"top": top, "max": highest, "mean": average}
