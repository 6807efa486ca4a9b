"""STCM (Zhou et al., IEEE TNNLS 33(6), 2022), after its abstract and its predecessor P-Net."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from anomalib_stc.models.stcm.structure import StructureExtractor
from anomalib_stc.parts.branch import Branch, BranchOutput, memories_of, structure_encoder
from anomalib_stc.parts.correspondence import distance
from anomalib_stc.parts.features import GRID_STRIDE, TextureFeatures
from anomalib_stc.parts.memory import Memory
from anomalib_stc.parts.score import AnomalyScore, resize
from anomalib_stc.parts.scored_model import ScoredModel
from anomalib_stc.parts.sizes import check_size


class StructureTexture(NamedTuple):
    """What the model infers of an image."""

    reconstruction: Tensor  # (B, 3, H, W)
    texture: Tensor  # (B, D, H/8, W/8): read-out of the memories, fused
    features: Tensor  # (B, D, H/8, W/8): texture features of the image itself
    structures: dict[str, Tensor]  # of the image, by extractor
    branches: dict[str, BranchOutput]
    attention: Tensor | None  # (B, branches, H/8, W/8), sums to 1; None without learned fusion


class StcmModel(ScoredModel):
    """Two structures, a memory of normal textures each, learned fusion, and the fused image's own structures.

    Args:
        features: Texture features.
        extractors: Structure extractors by name; without any, the image itself is the structure: an autoencoder.
        score: From residuals to map and score. Its terms are ``pixel``, ``correspondence`` and a structure's name.
        memory_items: Items of every memory; 0 for no memory (ablation).
        key_channels: Channels of the queries.
        widths: Channels of the decoders at strides 8 and 4.
        temperature: Start of the memories' learned temperature.
        shrink: See `Memory`.
        top_k: See `Memory`.
        fusion: Learned attention; ``False`` takes the mean of the branches (ablation).
    """

    def __init__(
        self,
        features: TextureFeatures,
        extractors: dict[str, StructureExtractor],
        score: AnomalyScore,
        *,
        memory_items: int,
        key_channels: int,
        widths: Sequence[int],
        temperature: float,
        shrink: float,
        top_k: int | None,
        fusion: bool,
    ) -> None:
        super().__init__()
        self.features = features
        extractors = extractors or {"image": ImageItself()}
        self.extractors = nn.ModuleDict(extractors)
        self.score = score
        self.branches = nn.ModuleDict(
            {
                name: Branch(
                    structure_encoder(extractor.channels, extractor.stride, key_channels),
                    features.channels,
                    key_channels,
                    widths,
                    Memory(memory_items, key_channels, features.channels, temperature, shrink, top_k)
                    if memory_items
                    else None,
                )
                for name, extractor in extractors.items()
            },
        )
        count = len(self.branches)
        self.attention = nn.Conv2d(count * key_channels, count, 3, padding=1) if fusion and count > 1 else None

    @property
    def memories(self) -> dict[str, Memory]:
        """Memories of the branches, by name."""
        return memories_of(cast("Mapping[str, Branch]", self.branches))

    def infer(self, image: Tensor) -> StructureTexture:
        """Infer texture and image from the structures of images (B, 3, H, W)."""
        check_size(image)
        with torch.no_grad():
            features = self.features(image)
            structures = self.extract(image, features=features)
        branches = {name: branch(structures[name]) for name, branch in self.branches.items()}
        attention, (texture, reconstruction) = self.fuse(list(branches.values()))
        return StructureTexture(reconstruction, texture, features, structures, branches, attention)

    def extract(
        self, image: Tensor, names: Iterable[str] | None = None, features: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the structures of images (B, 3, H, W): all, or those named; features save computing them again."""
        extractors = {name: self.extractors[name] for name in (self.extractors if names is None else names)}
        if features is None and any(extractor.stride == GRID_STRIDE for extractor in extractors.values()):
            features = self.features(image)
        return {name: extractor(image, features) for name, extractor in extractors.items()}

    def fuse(self, branches: list[BranchOutput]) -> tuple[Tensor | None, tuple[Tensor, Tensor]]:
        """Return the attention and the branches' textures and images, mixed by it."""
        textures, images = [branch.texture for branch in branches], [branch.image for branch in branches]
        if self.attention is None:
            return None, (torch.stack(textures).mean(0), torch.stack(images).mean(0))
        attention = self.attention(torch.cat([branch.query for branch in branches], 1)).softmax(1)
        pixelwise = resize(attention, images[0].shape[-2:])
        return attention, (mix(attention, textures), mix(pixelwise, images))

    def residuals(self, image: Tensor, output: StructureTexture) -> dict[str, Tensor]:
        """Return every term of the score as a map (B, 1, h, w), not calibrated."""
        reconstruction = output.reconstruction.clamp(0, 1)
        scored = [name for name in self.extractors if name in self.score.weights]
        residuals = {
            "pixel": (image - reconstruction).abs().mean(1, keepdim=True),
            "correspondence": distance(output.texture, output.features),
        }
        for name, rebuilt in self.extract(reconstruction, scored).items():
            residuals[name] = (output.structures[name] - rebuilt).abs().sum(1, keepdim=True)
        return residuals


class ImageItself(StructureExtractor):
    """No structure: the branch becomes an autoencoder of the image (ablation)."""

    channels = 3
    stride = 1

    def forward(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        """Return the image (B, 3, H, W)."""
        del features
        return image


def mix(weights: Tensor, maps: list[Tensor]) -> Tensor:
    """Return the sum of maps (B, C, H, W), each times its channel of the weights (B, len(maps), H, W)."""
    first, *others = [weight * values for weight, values in zip(weights.split(1, 1), maps, strict=True)]
    return sum(others, first)
