"""k-means by cosine similarity, with anomalib's KMeans, of positions of normal feature maps."""

from collections.abc import Iterable

import torch
from anomalib.models.components.cluster import KMeans
from torch import Tensor

from anomalib_stc.parts.rounding import unit

POINTS = 16384  # grid positions that k-means sees in all: enough for hundreds of clusters, seconds of time
SEED = 0


def cosine_kmeans(points: Tensor, clusters: int, iterations: int = 15, seed: int = SEED) -> tuple[Tensor, Tensor]:
    """Cluster points by cosine similarity; the global random state is left as it was.

    Args:
        points: Points of shape (P, C).
        clusters: Number of clusters, at most P.
        iterations: Rounds of Lloyd's algorithm.
        seed: Seed of the choice of the first centres.

    Returns:
        The label of every point (P,) and the centres (clusters, C), means of unit vectors.

    Raises:
        ValueError: If there are fewer points than clusters.
    """
    if len(points) < clusters:
        msg = f"k-means got {len(points)} points for {clusters} clusters: give more images or ask for fewer clusters."
        raise ValueError(msg)
    with torch.random.fork_rng(devices=[points.device] if points.is_cuda else []):
        torch.manual_seed(seed)
        return KMeans(clusters, iterations).fit(unit(points))


def cluster_means(points: Tensor, label: Tensor, clusters: int) -> Tensor:
    """Return the mean (clusters, C) of the points (P, C) of every label (P,); zero where a label has no point."""
    count = torch.bincount(label, minlength=clusters).clamp(min=1)
    total = torch.zeros(clusters, points.shape[1], device=points.device, dtype=points.dtype)
    return total.index_add_(0, label, points) / count[:, None]


def reseed_empty(label: Tensor, clusters: int, seed: int = SEED) -> Tensor:
    """Return labels (P,) in which every cluster that had no point got one, drawn at random."""
    empty = (torch.bincount(label, minlength=clusters) == 0).nonzero().flatten()
    drawn = torch.randperm(len(label), generator=torch.Generator().manual_seed(seed))[: len(empty)]
    filled = label.clone()
    filled[drawn.to(label.device)] = empty
    return filled


def sample_points(maps: Iterable[Tensor]) -> Tensor:
    """Return at most `POINTS` positions (P, C) of maps (B, C, h, w): the same ones for maps of one grid."""
    flat = torch.cat([batch.permute(0, 2, 3, 1).flatten(0, 2) for batch in maps])
    chosen = torch.randperm(len(flat), generator=torch.Generator().manual_seed(SEED))[:POINTS]
    return flat[chosen.to(flat.device)]
