"""The nearest of some normal vectors, and which of them are worth keeping."""

from math import ceil
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_stc.parts.checks import check_whole
from anomalib_stc.parts.clusters import shuffled

ITEMS: Final = 1024  # of every depth of a bank; 512 were a little worse, 2048 no better
CANDIDATES: Final = 40_000  # positions that items are chosen from: seconds of time
AT_ONCE: Final = 64  # points among which the farthest is looked for


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


def spread(points: Tensor, count: int) -> Tensor:
    """Return the indices (count,) of points (P, C): the first half as they come, then always the farthest one.

    Points are looked at by the dozen: of the farthest so far, one after the other is taken as long as none of the rest
    can be farther, since a distance never grows. But for ties and rounding these are the points that one at a time
    would find, which takes six times as long.

    Written here, because anomalib's `KCenterGreedy` begins with nothing, draws from the global generator, and looks at
    all points for every one that it takes.
    """
    chosen = torch.arange(ceil(count / 2), device=points.device)
    distance = points.new_full((len(points),), torch.inf)
    squares = points.square().sum(1)
    for some in chosen.split(AT_ONCE):
        distance = torch.minimum(distance, apart(points, squares, some).amin(1))
    while len(chosen) < count:
        farthest = distance.topk(min(AT_ONCE, len(points))).indices
        mutual = apart(points[farthest], squares[farthest], torch.arange(len(farthest), device=points.device))
        taken = farthest[taken_in_turn(mutual.cpu(), distance[farthest].cpu(), count - len(chosen))]
        distance = torch.minimum(distance, apart(points, squares, taken).amin(1))
        chosen = torch.cat([chosen, taken])
    return chosen


def taken_in_turn(mutual: Tensor, distance: Tensor, most: int) -> list[int]:
    """Return which of some points are the farthest, one after the other, until one of others might be.

    Args:
        mutual: Squared distances (n, n) of the farthest of all points.
        distance: Their distances (n,) to what was taken before, the smallest last; others' are no larger.
        most: How many at most.
    """
    bound = distance[-1]
    taken: list[int] = []
    while len(taken) < most:
        best = int(distance.argmax())
        if taken and distance[best] < bound:
            break
        taken.append(best)
        distance = torch.minimum(distance, mutual[best])
    return taken


def apart(points: Tensor, squares: Tensor, some: Tensor) -> Tensor:
    """Return the squared distances (P, n) of points (P, C), whose squares (P,) are known, to some of them (n,)."""
    return squares[:, None] + squares[some] - points @ (2 * points[some]).T
