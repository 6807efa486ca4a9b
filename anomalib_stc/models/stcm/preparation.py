"""One pass over normal images before training: parts of the semantic structure, first items of the memories.

Items that start as the means of clusters of real features need no long training to be used; none starts dead.
"""

from collections.abc import Iterable, Mapping
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from anomalib_stc.components.clustering import cluster_means, cosine_kmeans, fill_empty
from anomalib_stc.components.semantic import PartSegmentation
from anomalib_stc.models.stcm.branch import Branch
from anomalib_stc.models.stcm.torch_model import StcmModel

POINTS = 16384  # grid positions that k-means sees in all: enough for hundreds of clusters, seconds of time
SEED = 0


@torch.no_grad()
def prepare(model: StcmModel, images: list[Tensor]) -> None:
    """Fit parts and memories on normal images, batches (B, 3, H, W) in [0, 1], all of one size.

    Raises:
        ValueError: If the images have fewer grid positions than there are parts or items.
    """
    training = model.training
    model.train()
    features = [model.features(batch) for batch in images]
    points = _sample(features)
    for extractor in model.extractors.values():
        if isinstance(extractor, PartSegmentation):
            extractor.fit(points)
    structures = [model.extract(batch, features=known) for batch, known in zip(images, features, strict=True)]
    branches = cast("Mapping[str, Branch]", model.branches)
    memories = {name: branch.memory for name, branch in branches.items() if branch.memory is not None}
    if memories:
        items = len(next(iter(memories.values())).values)  # the same for every branch, so the clusters are too
        label = fill_empty(cosine_kmeans(points, items, seed=SEED)[0], items)
        values = cluster_means(points, label, items)
    for name, memory in memories.items():
        queries = F.normalize(_sample([branches[name].encoder(batch[name]) for batch in structures]), dim=1)
        memory.write(cluster_means(queries, label, items), values)
    model.train(training)


def _sample(maps: Iterable[Tensor]) -> Tensor:
    """Return at most `POINTS` positions (P, C) of maps (B, C, h, w): the same ones for maps of one grid."""
    flat = torch.cat([batch.permute(0, 2, 3, 1).flatten(0, 2) for batch in maps])
    chosen = torch.randperm(len(flat), generator=torch.Generator().manual_seed(SEED))[:POINTS]
    return flat[chosen.to(flat.device)]
