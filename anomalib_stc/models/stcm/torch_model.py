"""STCM (Zhou et al., IEEE TNNLS 33(6), 2022), after its abstract and its predecessor P-Net."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from anomalib_stc.models.stcm.semantic import PartSegmentation
from anomalib_stc.models.stcm.structure import StructureExtractor
from anomalib_stc.parts.bank import MemoryBank
from anomalib_stc.parts.branch import Branch, BranchOutput, initialise_memories, memories_of
from anomalib_stc.parts.clusters import sample_points
from anomalib_stc.parts.correspondence import distance
from anomalib_stc.parts.features import GRID_STRIDE, Seen, TextureFeatures
from anomalib_stc.parts.memory import Memory
from anomalib_stc.parts.score import AnomalyScore
from anomalib_stc.parts.scored_model import ScoredModel
from anomalib_stc.parts.sizes import checked, in_cells, resize_maps
from anomalib_stc.parts.window import Window, random_window

Structures = dict[str, Tensor]  # by the extractor's name
Extract = Callable[[Tensor], Structures]


class StructureTexture(NamedTuple):
    """What the model infers of an image."""

    seen: Seen
    reconstruction: Tensor  # (B, 3, H, W)
    texture: Tensor  # (B, D, H/8, W/8): read-out of the memories, fused
    structures: Structures  # of the image
    branches: dict[str, BranchOutput]


class Learnt(NamedTuple):
    """What the loss needs of an image."""

    inferred: StructureTexture
    window: Window  # that the losses of structure and discriminator look at
    extract: Extract

    @property
    def reconstruction(self) -> Tensor:
        """The reconstruction (B, 3, H, W)."""
        return self.inferred.reconstruction


class Attention(nn.Module):
    """Weights (B, branches, H/8, W/8) of branches that sum to 1, by one convolution over the queries of all.

    Args:
        branches: Number of branches.
        key_channels: Channels of a query.
    """

    def __init__(self, branches: int, key_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(branches * key_channels, branches, 3, padding=1)

    def forward(self, queries: list[Tensor]) -> Tensor:
        """Return the weights from the branches' queries (B, key_channels, H/8, W/8)."""
        return self.conv(torch.cat(queries, 1)).softmax(1)


class StcmModel(ScoredModel):
    """Two structures, a memory of normal textures each, learned fusion, and the fused image's own structures.

    Args:
        features: Texture features.
        extractors: Structure extractors by name.
        branches: A branch for every extractor, by the same names.
        attention: From the queries of all branches to their weights; ``None`` where there is one branch.
        score: From residuals to map and score. Its terms are the bank's, ``pixel``,
            ``correspondence`` and extractors' names.
    """

    def __init__(
        self,
        features: TextureFeatures,
        extractors: Mapping[str, StructureExtractor],
        branches: Mapping[str, Branch],
        attention: nn.Module | None,
        score: AnomalyScore,
    ) -> None:
        super().__init__()
        self.features = features
        self.extractors = nn.ModuleDict(dict(extractors))
        self.bank = MemoryBank(features)
        self.score = score
        self.branches = nn.ModuleDict(dict(branches))
        self.attention = attention

    @property
    def memories(self) -> dict[str, Memory]:
        """Memories of the branches, by name."""
        return memories_of(cast("Mapping[str, Branch]", self.branches))

    @torch.no_grad()
    def start(self, images: list[Tensor], features: list[Tensor], seed: int) -> None:
        """Fit parts and memories on normal images."""
        training = self.training
        self.train()
        for extractor in self.extractors.values():
            if isinstance(extractor, PartSegmentation):
                extractor.fit(sample_points(features, seed), seed)
        structures = [self.extract(batch, features=known) for batch, known in zip(images, features, strict=True)]
        initialise_memories(cast("Mapping[str, Branch]", self.branches), structures, features, seed)
        self.train(training)

    def learn(self, image: Tensor) -> Learnt:
        """Infer texture and image, and draw the window that some losses look at."""
        return Learnt(self.infer(image), random_window(image), self.extract)

    def infer(self, image: Tensor) -> StructureTexture:
        """Infer texture and image from the structures of images (B, 3, H, W)."""
        image = checked(image, self.dtype)
        with torch.no_grad():
            seen = self.features.see(image)
            structures = self.extract(image, features=seen.features)
        branches = {name: branch(structures[name]) for name, branch in self.branches.items()}
        texture, reconstruction = self.fuse(list(branches.values()))
        return StructureTexture(seen, reconstruction, texture, structures, branches)

    def extract(self, image: Tensor, names: Iterable[str] | None = None, features: Tensor | None = None) -> Structures:
        """Return the structures of images (B, 3, H, W): all, or those named; features save computing them again."""
        extractors = {name: self.extractors[name] for name in (self.extractors if names is None else names)}
        if features is None and any(extractor.stride == GRID_STRIDE for extractor in extractors.values()):
            features = self.features(image)
        return {name: extractor(image, features) for name, extractor in extractors.items()}

    def fuse(self, branches: list[BranchOutput]) -> tuple[Tensor, Tensor]:
        """Return the branches' textures and images, mixed by attention."""
        textures, images = [branch.texture for branch in branches], [branch.image for branch in branches]
        if self.attention is None:
            return textures[0], images[0]
        attention = self.attention([branch.query for branch in branches])
        return mix(attention, textures), mix(resize_maps(attention, images[0].shape[-2:]), images)

    def own_residuals(self, inferred: StructureTexture, names: Collection[str]) -> dict[str, Tensor]:
        """Return the named terms of what was trained as maps (B, 1, h, w), not calibrated."""
        reconstruction = inferred.reconstruction.clamp(0, 1)
        rebuilt = self.extract(reconstruction, [name for name in names if name in self.extractors])
        found = {
            "pixel": (inferred.seen.image - reconstruction).abs().mean(1, keepdim=True),
            "correspondence": distance(inferred.texture, inferred.seen.features),
            **{name: (inferred.structures[name] - other).abs().sum(1, keepdim=True) for name, other in rebuilt.items()},
        }
        return {name: in_cells(found[name], inferred.seen.image.shape[-2:]) for name in names}


def mix(weights: Tensor, maps: list[Tensor]) -> Tensor:
    """Return the sum of maps (B, C, H, W), each times its channel of the weights (B, len(maps), H, W)."""
    first, *others = [weight * values for weight, values in zip(weights.split(1, 1), maps, strict=True)]
    return sum(others, first)
