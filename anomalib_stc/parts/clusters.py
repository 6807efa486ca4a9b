"""k-means by cosine similarity, with anomalib's KMeans, of positions of normal feature maps."""

from collections.abc import Iterable
from math import ceil

import torch
from anomalib.models.components.cluster import KMeans
from torch import Tensor

from anomalib_stc.parts.rounding import unit

POINTS = 16384  # grid positions that k-means sees in all: enough for hundreds of clusters, seconds of time


def cosine_kmeans(points: Tensor, clusters: int, seed: int, iterations: int = 15) -> tuple[Tensor, Tensor]:
    """Cluster points by cosine similarity; the global random state is left as it was.

    The first centres are points drawn with repetition: there may be fewer points than clusters, or equal ones. Clusters
    without a point then keep the centre they were given.

    Args:
        points: Points of shape (P, C), one at least.
        clusters: Number of clusters.
        seed: Seed of the choice of the first centres.
        iterations: Rounds of Lloyd's algorithm.

    Returns:
        The label of every point (P,) and the centres (clusters, C), means of unit vectors.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # anomalib draws on the CPU; `torch.manual_seed` seeds every device
        return KMeans(clusters, iterations).fit(unit(points))


def cluster_means(points: Tensor, label: Tensor, clusters: int) -> Tensor:
    """Return the mean (clusters, C) of the points (P, C) of every label (P,); zero where a label has no point."""
    count = torch.bincount(label, minlength=clusters).clamp(min=1)
    total = torch.zeros(clusters, points.shape[1], device=points.device, dtype=points.dtype)
    return total.index_add_(0, label, points) / count[:, None]


def reseed_empty(label: Tensor, clusters: int, seed: int) -> Tensor:
    """Return labels (P,) in which every cluster that had no point got one, drawn from those with more than one.

    Args:
        label: Labels (P,), as many as there are clusters at least.
        clusters: Number of clusters.
        seed: Seed of the choice.
    """
    empty = (torch.bincount(label, minlength=clusters) == 0).nonzero().flatten()
    order = shuffled(len(label), seed).to(label.device)
    place = torch.arange(len(label), device=label.device)
    last = torch.zeros(clusters, dtype=torch.long, device=label.device).scatter_reduce(0, label[order], place, "amax")
    spare = order[place != last[label[order]]]  # all but one of every cluster
    filled = label.clone()
    filled[spare[: len(empty)]] = empty
    return filled


def sample_points(maps: Iterable[Tensor], seed: int, least: int = 1) -> Tensor:
    """Return some positions (P, C) of maps (B, C, h, w), in single precision or better.

    The same seed and number give the same positions of all maps of one grid.

    Args:
        maps: Maps in batches.
        seed: Seed of the choice.
        least: Positions that are needed; where there are fewer, they are repeated. Else there are `POINTS` at most.
    """
    flat = torch.cat([batch.permute(0, 2, 3, 1).flatten(0, 2) for batch in maps])
    chosen = shuffled(len(flat), seed)[: max(POINTS, least)]
    points = flat[chosen.repeat(ceil(least / len(chosen))).to(flat.device)]
    return points.to(torch.promote_types(points.dtype, torch.float32))


def shuffled(count: int, seed: int) -> Tensor:
    """Return the numbers below a count (count,) in random order, on the CPU."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
