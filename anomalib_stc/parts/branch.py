"""From a structure of the image, through a memory of normal textures, to an image: what the memory says is rebuilt."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from anomalib_stc.parts.blocks import conv_block, shuffle_block, up_block
from anomalib_stc.parts.checks import check_whole
from anomalib_stc.parts.clusters import cluster_means, cosine_kmeans, reseed_empty, sample_points
from anomalib_stc.parts.features import GRID_STRIDE
from anomalib_stc.parts.memory import Memory
from anomalib_stc.parts.rounding import unit


class BranchOutput(NamedTuple):
    """What a branch infers from its structure."""

    query: Tensor  # (B, key_channels, H/8, W/8)
    texture: Tensor  # (B, texture_channels, H/8, W/8), in the space of the texture features
    image: Tensor  # (B, 3, H, W)


class Branch(nn.Module):
    """Structure to texture to image; the decoder sees the texture only, so nothing passes by the memory.

    Args:
        encoder: From the structure to queries (B, key_channels, H/8, W/8).
        memory: From queries to a `MemoryRead`.
        decoder: From the texture that was read to an image (B, 3, H, W).
    """

    def __init__(self, encoder: nn.Module, memory: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.memory = memory
        self.decoder = decoder

    def forward(self, structure: Tensor) -> BranchOutput:
        """Infer texture and image from a structure (B, structure_channels, H, W) or (.., H/8, W/8)."""
        query = self.encoder(structure)
        texture = self.memory(query).value
        return BranchOutput(query, texture, self.decoder(texture))


def structure_encoder(channels: int, stride: int, key_channels: int) -> nn.Sequential:
    """Return convolutions from a structure to queries on the feature grid.

    Raises:
        ValueError: If there are too few channels.
    """
    check_whole("Structure's channels", channels)
    check_whole("Key channels", key_channels, 2)
    if stride == GRID_STRIDE:
        head: list[nn.Module] = [conv_block(channels, key_channels, kernel_size=1)]
    else:
        width = key_channels // 2
        cell = 4 // stride
        head = [
            nn.PixelUnshuffle(cell),
            conv_block(cell * cell * channels, width),
            conv_block(width, key_channels, stride=2),
        ]
    return nn.Sequential(*head, conv_block(key_channels, key_channels), nn.Conv2d(key_channels, key_channels, 1))


def texture_decoder(channels: int, widths: Sequence[int]) -> nn.Sequential:
    """Return convolutions from texture features at stride 8 to an image; channels ``widths`` at strides 8 and 4."""
    wide, narrow = widths
    return nn.Sequential(
        conv_block(channels, wide, kernel_size=1),
        conv_block(wide, wide),
        up_block(wide, narrow),
        shuffle_block(narrow, 3, 4),
    )


def memories_of(branches: Mapping[str, Branch]) -> dict[str, Memory]:
    """Return the memories of branches by name; those without one are left out."""
    return {name: branch.memory for name, branch in branches.items() if isinstance(branch.memory, Memory)}


@torch.no_grad()
def initialise_memories(
    branches: Mapping[str, Branch], structures: Sequence[Mapping[str, Tensor]], features: Sequence[Tensor], seed: int
) -> None:
    """Write cluster means to the memories of branches in training mode; the same clusters for every branch.

    Items that start as the means of clusters of real features need no long training to be used; none starts dead.

    Args:
        branches: Branches by name; those without a memory are left out.
        structures: What every branch sees of the normal images, by its name, in batches.
        features: Texture features (B, D, h, w) of the same batches.
        seed: Seed of positions and clusters, the same for every branch.
    """
    memories = memories_of(branches)
    if not memories:
        return
    items = len(next(iter(memories.values())).values)
    points = sample_points(features, seed, items)
    label = reseed_empty(cosine_kmeans(points, items, seed)[0], items, seed)
    values = cluster_means(points, label, items)
    for name, memory in memories.items():
        encoded = [branches[name].encoder(batch[name]) for batch in structures]
        queries = unit(sample_points(encoded, seed, items))
        memory.write(cluster_means(queries, label, items), values)
