"""One pass over normal images before training: parts of the semantic structure, first items of the memories."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from anomalib_stc.models.stcm.semantic import PartSegmentation
from anomalib_stc.models.stcm.torch_model import StcmModel
from anomalib_stc.parts.branch import Branch
from anomalib_stc.parts.preparation import fill_memories, sample_points


@torch.no_grad()
def prepare(model: StcmModel, images: list[Tensor]) -> None:
    """Fit parts and memories on normal images, batches (B, 3, H, W) in [0, 1], all of one size.

    Raises:
        ValueError: If the images have fewer grid positions than there are parts or items.
    """
    training = model.training
    model.train()
    features = [model.features(batch) for batch in images]
    for extractor in model.extractors.values():
        if isinstance(extractor, PartSegmentation):
            extractor.fit(sample_points(features))
    structures = [model.extract(batch, features=known) for batch, known in zip(images, features, strict=True)]
    fill_memories(cast("Mapping[str, Branch]", model.branches), structures, features)
    model.train(training)
