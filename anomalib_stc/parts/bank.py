"""Memory bank: normal features as they are, nothing trained; the farther the nearest one, the stranger a place.

After PatchCore (Roth et al., CVPR 2022), with four depths apart, since what is strange at one is common at another:
the pixels of a cell, features of shallow levels and their neighbours, those of all but the finest level as they are,
features of all levels on a coarser grid.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from copy import deepcopy
from itertools import islice
from math import ceil
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_stc.parts.checks import check_whole
from anomalib_stc.parts.clusters import shuffled
from anomalib_stc.parts.features import GRID_STRIDE, TextureFeatures

PIXEL: Final = "bank_pixel"
FINE: Final = "bank_fine"
TEXTURE: Final = "bank_texture"
DEEP: Final = "bank_deep"
DEPTHS: Final = (PIXEL, FINE, TEXTURE, DEEP)
BANK_WEIGHTS: Final = dict.fromkeys(DEPTHS, 1.0)  # of its terms in a score: weights that were fitted were worse
ITEMS: Final = 1024  # of every depth; 512 were a little worse, 2048 no better
CANDIDATES: Final = 40_000  # positions that items are chosen from: seconds of time
IMAGES: Final = 200  # normal images that are looked at; 99 support a rate of false alarms of .01
GREY_LEVEL: Final = 1 / 255  # deviations below are rounding
FOLDS: Final = 6  # of a bank's own images
FARTHEST: Final = 40.0  # deviations of a cell's values from their means: half precision ends at a squared distance of
# 65,504, and nine values twice as far apart have 57,600


class Nearest(nn.Module):
    """Squared distance to the nearest of some normal vectors.

    Args:
        channels: Channels of a vector.
        items: Number of vectors that are kept.
    """

    def __init__(self, channels: int, items: int = ITEMS) -> None:
        super().__init__()
        check_whole("Bank's items", items)
        self.items: Tensor
        self.source: Tensor
        self.register_buffer("items", torch.zeros(items, channels))
        self.register_buffer("source", torch.zeros(items, dtype=torch.int32))

    @torch.no_grad()
    def fit(self, maps: Tensor, seed: int) -> None:
        """Keep vectors of normal images, half of them drawn, half those farthest from all kept before.

        Drawn ones alone leave out what is rare, farthest ones alone are outliers.

        Args:
            maps: Maps (n, C, h, w), one an image.
            seed: Seed of the choice.
        """
        count, places = len(self.items), maps.shape[-2] * maps.shape[-1]
        chosen = shuffled(len(maps) * places, seed)[:CANDIDATES].to(maps.device)
        chosen = chosen.repeat(ceil(count / len(chosen)))
        points = maps.flatten(2).permute(0, 2, 1).flatten(0, 1)[chosen].to(self.items)
        kept = spread(points, count)
        self.items.copy_(points[kept])
        self.source.copy_(chosen[kept] // places)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the squared distance (B, 1, h, w) of vectors (B, C, h, w) to the nearest item."""
        return squared(self.beyond(vectors), vectors)

    def beyond(self, vectors: Tensor) -> Tensor:
        """Return the squared distances (B, items, h, w) of vectors (B, C, h, w), less the vectors' own squares."""
        return F.conv2d(vectors, -2 * self.items[..., None, None], self.items.square().sum(1))

    def without(self, vectors: Tensor, source: int) -> Tensor:
        """Return the same where the items of an image are left out, unless they are all that there are."""
        others = self.source != source
        beyond = self.beyond(vectors)
        return squared(beyond[:, others] if others.any() else beyond, vectors)


def squared(beyond: Tensor, vectors: Tensor) -> Tensor:
    """Return the least squared distance (B, 1, h, w) from what `Nearest.beyond` says of vectors (B, C, h, w)."""
    return (beyond.amin(1, keepdim=True) + vectors.square().sum(1, keepdim=True)).clamp(min=0)


class MemoryBank(nn.Module):
    """How far pixels and features of a place are from those of normal images, at four depths.

    Args:
        features: Texture features of the images.
        items: Vectors that are kept of every depth.
    """

    def __init__(self, features: TextureFeatures, items: int = ITEMS) -> None:
        super().__init__()
        self.finest, self.shallow, self.deep = features.finest, features.shallow, features.deep
        channels = {PIXEL: 9, FINE: self.shallow, TEXTURE: self.deep - self.finest, DEEP: self.deep}
        self.depths = nn.ModuleDict({name: Nearest(channels[name], items) for name in DEPTHS})
        self.mean: Tensor
        self.deviation: Tensor
        self.seed: Tensor
        self.scores: Tensor
        self.register_buffer("mean", torch.zeros(9, 1, 1))
        self.register_buffer("deviation", torch.ones(9, 1, 1))
        self.register_buffer("seed", torch.tensor(0))  # of the images that were looked at
        self.register_buffer("scores", torch.full((IMAGES,), torch.nan))  # of these, see `crossed`

    def forward(self, image: Tensor, features: Tensor, names: Collection[str] = DEPTHS) -> dict[str, Tensor]:
        """Return squared distances (B, 1, h, w) by depth.

        Args:
            image: Images (B, 3, H, W) in [0, 1].
            features: Their texture features (B, C, H/8, W/8).
            names: Depths that are asked for.
        """
        return {name: self.depths[name](self.vectors(name, image, features)) for name in names}

    def without(
        self, image: Tensor, features: Tensor, numbers: Sequence[int], names: Collection[str]
    ) -> dict[str, Tensor]:
        """Return the same of images with these numbers among those that the bank was made of, each without its own."""
        found = {}
        for name in names:
            alone = self.vectors(name, image, features).split(1)
            distances = [self._depth(name).without(one, number) for one, number in zip(alone, numbers, strict=True)]
            found[name] = torch.cat(distances)
        return found

    def vectors(self, name: str, image: Tensor, features: Tensor) -> Tensor:
        """Return what a depth knows of images (B, C, h, w)."""
        if name == PIXEL:
            return ((cells(image) - self.mean) / self.deviation).clamp(-FARTHEST, FARTHEST)
        if name == FINE:
            return F.avg_pool2d(features[:, : self.shallow], 3, 1, 1, count_include_pad=False)
        if name == TEXTURE:
            return features[:, self.finest : self.deep]
        return F.avg_pool2d(features[:, : self.deep], 2)

    @property
    def known_scores(self) -> Tensor:
        """Scores (n,) of the images that were looked at, each compared with a bank of others."""
        return self.scores[self.scores.isfinite()]

    @torch.no_grad()
    def fit(self, images: Sequence[Tensor], features: Sequence[Tensor], seed: int) -> None:
        """Keep vectors of normal images.

        Args:
            images: Batches (B, 3, H, W) in [0, 1], all of one size.
            features: Their texture features.
            seed: Seed of the images and of the choice of vectors.
        """
        self.seed.fill_(seed)
        found = torch.cat([cells(batch) for batch in images])
        self.mean.copy_(found.mean((0, 2, 3))[:, None, None])
        self.deviation.copy_(found.std((0, 2, 3), correction=0).clamp(min=GREY_LEVEL)[:, None, None])
        for name in DEPTHS:
            vectors = [self.vectors(name, *pair) for pair in zip(images, features, strict=True)]
            self._depth(name).fit(torch.cat(vectors), seed)

    @torch.no_grad()
    def crossed(
        self, images: Sequence[Tensor], features: Sequence[Tensor], names: Collection[str]
    ) -> dict[str, Tensor]:
        """Return squared distances (n, 1, h, w) of its own images, each to a bank made as this one of other folds.

        Leaving a fold out from the beginning costs a bank each. But to leave out an image's vectors alone, as `without`
        does, leaves holes where those of other images would have been chosen: distances are a little too large.

        Args:
            images: Batches (B, 3, H, W), as `fit` took them; of a single image the distances to its own bank come.
            features: Their texture features.
            names: Depths that are asked for.
        """
        image, texture, seed = torch.cat([*images]), torch.cat([*features]), int(self.seed)
        order = shuffled(len(image), seed).to(image.device)
        other, found = deepcopy(self), []
        folds = [order[start::FOLDS] for start in range(min(FOLDS, len(order)))]
        for fold in folds:
            rest = order[~torch.isin(order, fold)].sort().values
            if len(rest):
                other.fit([image[rest]], [texture[rest]], seed)
            found += [other(image[one : one + 1], texture[one : one + 1], names) for one in fold.tolist()]
        back = torch.cat(folds).argsort()
        return {name: torch.cat([one[name] for one in found])[back] for name in names}

    @torch.no_grad()
    def keep(self, scores: Tensor) -> None:
        """Keep the scores (n,) of the images that it was made of, see `crossed`."""
        self.scores.fill_(torch.nan)
        self.scores[: len(scores)] = scores[:IMAGES]

    def _depth(self, name: str) -> Nearest:
        return cast("Nearest", self.depths[name])


def numbered(batches: Iterable[Tensor], numbers: Iterable[int]) -> Iterator[tuple[list[int], Tensor]]:
    """Yield batches with the numbers of their images."""
    rest = iter(numbers)
    for batch in batches:
        yield [*islice(rest, len(batch))], batch


def cells(image: Tensor) -> Tensor:
    """Return mean, highest and lowest value (B, 9, H/8, W/8) of the channels of every cell of images (B, 3, H, W)."""
    return torch.cat(
        [F.avg_pool2d(image, GRID_STRIDE), F.max_pool2d(image, GRID_STRIDE), -F.max_pool2d(-image, GRID_STRIDE)], 1
    )


def spread(points: Tensor, count: int) -> Tensor:
    """Return the indices (count,) of points (P, C): the first half as they come, then always the farthest one.

    Written here, because anomalib's `KCenterGreedy` begins with nothing, draws from the global generator, and takes
    three times as long.
    """
    square = points.square().sum(1)
    chosen = list(range(ceil(count / 2)))
    distance = torch.full_like(square, torch.inf)

    def see(seen: Tensor) -> Tensor:
        return torch.minimum(distance, (square[:, None] + square[seen] - 2 * points @ points[seen].T).amin(1))

    for some in torch.tensor(chosen, device=points.device).split(64):
        distance = see(some)
    while len(chosen) < count:
        farthest = distance.argmax()
        chosen.append(int(farthest))
        distance = see(farthest[None])
    return torch.tensor(chosen, device=points.device)
