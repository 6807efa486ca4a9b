"""First items of memories: means of clusters of what normal images have there.

Items that start as the means of clusters of real features need no long training to be used; none starts dead.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from anomalib_stc.parts.branch import Branch, memories_of
from anomalib_stc.parts.clusters import cluster_means, cosine_kmeans, fill_empty
from anomalib_stc.parts.rounding import unit

POINTS = 16384  # grid positions that k-means sees in all: enough for hundreds of clusters, seconds of time
SEED = 0


@torch.no_grad()
def fill_memories(
    branches: Mapping[str, Branch], structures: Sequence[Mapping[str, Tensor]], features: Sequence[Tensor]
) -> None:
    """Write cluster means to the memories of branches in training mode; the same clusters for every branch.

    Args:
        branches: Branches by name; those without a memory are left out.
        structures: What every branch sees of the normal images, by its name, in batches.
        features: Texture features (B, D, h, w) of the same batches.

    Raises:
        ValueError: If the images have fewer grid positions than there are items.
    """
    memories = memories_of(branches)
    if not memories:
        return
    points = sample_points(features)
    items = len(next(iter(memories.values())).values)
    label = fill_empty(cosine_kmeans(points, items, seed=SEED)[0], items)
    values = cluster_means(points, label, items)
    for name, memory in memories.items():
        queries = unit(sample_points([branches[name].encoder(batch[name]) for batch in structures]))
        memory.write(cluster_means(queries, label, items), values)


def sample_points(maps: Iterable[Tensor]) -> Tensor:
    """Return at most `POINTS` positions (P, C) of maps (B, C, h, w): the same ones for maps of one grid."""
    flat = torch.cat([batch.permute(0, 2, 3, 1).flatten(0, 2) for batch in maps])
    chosen = torch.randperm(len(flat), generator=torch.Generator().manual_seed(SEED))[:POINTS]
    return flat[chosen.to(flat.device)]
