"""One pass over normal images before training: parts of the semantic structure, first items of the memories.

Items that start as the means of clusters of real features need no long training to be used; none starts dead.
"""

from collections.abc import Iterable, Iterator, Mapping
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
    points = _sample([model.features(batch) for batch in images])
    for extractor in model.extractors.values():
        if isinstance(extractor, PartSegmentation):
            extractor.fit(points)
    structures = [model.extract(batch) for batch in images]
    for name, branch in cast("Mapping[str, Branch]", model.branches).items():
        if branch.memory is None:
            continue
        items = len(branch.memory.values)
        label = fill_empty(cosine_kmeans(points, items, seed=SEED)[0], items)
        queries = F.normalize(_sample([branch.encoder(batch[name]) for batch in structures]), dim=1)
        branch.memory.write(cluster_means(queries, label, items), cluster_means(points, label, items))
    model.train(training)


def _sample(maps: Iterable[Tensor]) -> Tensor:
    """Return at most `POINTS` positions (P, C) of maps (B, C, h, w): the same ones for maps of one grid."""
    flat = torch.cat(list(_positions(maps)))
    chosen = torch.randperm(len(flat), generator=torch.Generator().manual_seed(SEED))[:POINTS]
    return flat[chosen.to(flat.device)]


def _positions(maps: Iterable[Tensor]) -> Iterator[Tensor]:
    for batch in maps:
        yield batch.permute(0, 2, 3, 1).flatten(0, 2)
