"""Memory bank: normal features as they are, nothing trained; the farther the nearest one, the stranger a place.

After PatchCore (Roth et al., CVPR 2022), with four depths apart, since what is strange at one is common at another:
the pixels of a cell, features of shallow levels and their neighbours, those of all but the finest level as they are,
features of all levels on a coarser grid. Beside them, what kinds of features there are at all.
"""

from collections.abc import Collection, Sequence
from copy import deepcopy
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_stc.parts.clusters import shuffled
from anomalib_stc.parts.codebook import Codebook
from anomalib_stc.parts.contrast import CONTRASTS, NEAR, contrast
from anomalib_stc.parts.features import GRID_STRIDE, Seen, TextureFeatures, split
from anomalib_stc.parts.nearest import ITEMS, Nearest
from anomalib_stc.parts.sizes import neighbours

PIXEL: Final = "bank_pixel"
FINE: Final = "bank_fine"
TEXTURE: Final = "bank_texture"
DEEP: Final = "bank_deep"
DEPTHS: Final = (PIXEL, FINE, TEXTURE, DEEP)
KIND: Final = "bank_kind"
TERMS: Final = (*DEPTHS, KIND, *CONTRASTS)  # all that needs no training
LOCAL: Final = (KIND, NEAR)  # of these: they find places, and tell images apart less well with them
BANK_WEIGHTS: Final = dict.fromkeys(TERMS, 1.0)  # of its terms in a score: weights that were fitted were worse
KINDS: Final = 200  # 50 were as good
IMAGES: Final = 200  # normal images that are looked at; 99 support a rate of false alarms of .01
GREY_LEVEL: Final = 1 / 255  # deviations below are rounding
FOLDS: Final = 6  # of a bank's own images
FARTHEST: Final = 40.0  # deviations of a cell's values from their means: half precision ends at a squared distance of
# 65,504, and nine values twice as far apart have 57,600


class MemoryBank(nn.Module):
    """How far places are from those of normal images at four depths, from all kinds of them, and from their own image.

    Its terms are squared distances to the nearest normal place, of a cell's pixels (``bank_pixel``), of shallow
    features and their neighbours (``bank_fine``), of all but the finest (``bank_texture``) and of all on a coarser grid
    (``bank_deep``); how unlikely features are at all (``bank_kind``); and the contrast to the surroundings
    (``contrast_near``), to the image's median colour (``contrast_image``), of the finest features
    (``contrast_texture``).

    Args:
        features: Texture features of the images.
        items: Vectors that are kept of every depth.
    """

    def __init__(self, features: TextureFeatures, items: int = ITEMS) -> None:
        super().__init__()
        self.finest, self.shallow, self.deep = features.finest, features.shallow, features.deep
        channels = {PIXEL: 9, FINE: self.shallow, TEXTURE: self.deep - self.finest, DEEP: self.deep}
        self.depths = nn.ModuleDict({name: Nearest(channels[name], items) for name in DEPTHS})
        self.kinds = Codebook(KINDS, self.deep)
        self.mean: Tensor
        self.deviation: Tensor
        self.seed: Tensor
        self.scores: Tensor
        self.register_buffer("mean", torch.zeros(9, 1, 1))
        self.register_buffer("deviation", torch.ones(9, 1, 1))
        self.register_buffer("seed", torch.tensor(0))  # of the images that were looked at
        self.register_buffer("scores", torch.full((IMAGES,), torch.nan))  # of these, see `crossed`

    def forward(self, seen: Seen, names: Collection[str] = TERMS) -> dict[str, Tensor]:
        """Return terms (B, 1, h, w) by name: squared distances at depths, see `Codebook` and `contrast` for the others.

        Args:
            seen: Images and their features.
            names: Terms that are asked for.
        """
        return {name: self.term(name, seen) for name in names}

    def term(self, name: str, seen: Seen) -> Tensor:
        """Return a term (B, 1, h, w)."""
        if name in DEPTHS:
            return self._depth(name)(self.vectors(name, seen))
        return self.kinds.unlikely(seen.features[:, : self.deep]) if name == KIND else contrast(name, seen)

    def without(self, seen: Seen, numbers: Sequence[int], names: Collection[str]) -> dict[str, Tensor]:
        """Return the same of images with these numbers among those that the bank was made of, each without its own.

        One image is no matter to the kinds of features there are.
        """
        found = {}
        for name in names:
            if name in DEPTHS:
                alone = self.vectors(name, seen).split(1)
                distances = [self._depth(name).without(one, number) for one, number in zip(alone, numbers, strict=True)]
                found[name] = torch.cat(distances)
            else:
                found[name] = self.term(name, seen)
        return found

    def vectors(self, name: str, seen: Seen) -> Tensor:
        """Return what a depth knows of images (B, C, h, w)."""
        if name == PIXEL:
            return ((cells(seen.image) - self.mean) / self.deviation).clamp(-FARTHEST, FARTHEST)
        if name == FINE:
            return neighbours(seen.features[:, : self.shallow], 1)
        if name == TEXTURE:
            return seen.features[:, self.finest : self.deep]
        return F.avg_pool2d(seen.features[:, : self.deep], 2)

    @property
    def known_scores(self) -> Tensor:
        """Scores (n,) of the images that were looked at, each compared with a bank of others."""
        return self.scores[self.scores.isfinite()]

    @torch.no_grad()
    def fit(self, seen: Sequence[Seen], seed: int) -> None:
        """Keep vectors of normal images.

        Args:
            seen: Batches of images, all of one size, and their features.
            seed: Seed of the images and of the choice of vectors.
        """
        self._keep_vectors(seen, seed)
        self.kinds.fit([batch.features[:, : self.deep] for batch in seen], seed)

    def _keep_vectors(self, seen: Sequence[Seen], seed: int) -> None:
        self.seed.fill_(seed)
        found = torch.cat([cells(batch.image) for batch in seen])
        self.mean.copy_(found.mean((0, 2, 3))[:, None, None])
        self.deviation.copy_(found.std((0, 2, 3), correction=0).clamp(min=GREY_LEVEL)[:, None, None])
        for name in DEPTHS:
            self._depth(name).fit(torch.cat([self.vectors(name, batch) for batch in seen]), seed)

    @torch.no_grad()
    def crossed(self, seen: Sequence[Seen], names: Collection[str]) -> dict[str, Tensor]:
        """Return terms (n, 1, h, w) of the images that it was made of, each by a bank made as this one of other folds.

        Leaving a fold out from the beginning costs a bank each. But to leave out an image's vectors alone, as `without`
        does, leaves holes where those of other images would have been chosen: distances are a little too large.

        Args:
            seen: Images and features, as `fit` took them; a single image is compared with its own bank.
            names: Terms that are asked for.
        """
        images, seed = split(seen), int(self.seed)
        order = shuffled(len(images), seed).tolist()
        other, found = deepcopy(self), {}
        for fold in (order[start::FOLDS] for start in range(min(FOLDS, len(order)))):
            rest = [one for number, one in enumerate(images) if number not in fold]
            if rest:
                other._keep_vectors(rest, seed)
            found.update({number: other(images[number], names) for number in fold})
        return {name: torch.cat([found[number][name] for number in range(len(images))]) for name in names}

    @torch.no_grad()
    def keep(self, scores: Tensor) -> None:
        """Keep the scores (n,) of the images that it was made of, see `crossed`."""
        self.scores.fill_(torch.nan)
        self.scores[: len(scores)] = scores[:IMAGES]

    def _depth(self, name: str) -> Nearest:
        return cast("Nearest", self.depths[name])


def cells(image: Tensor) -> Tensor:
    """Return mean, highest and lowest value (B, 9, H/8, W/8) of the channels of every cell of images (B, 3, H, W)."""
    return torch.cat(
        [F.avg_pool2d(image, GRID_STRIDE), F.max_pool2d(image, GRID_STRIDE), -F.max_pool2d(-image, GRID_STRIDE)], 1
    )
