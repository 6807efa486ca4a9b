"""From a structure of the image, through a memory of normal textures, to an image: what the memory says is rebuilt."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from anomalib_stc.parts.blocks import conv_block, shuffle_block, up_block
from anomalib_stc.parts.features import GRID_STRIDE
from anomalib_stc.parts.memory import Memory


class BranchOutput(NamedTuple):
    """What a branch infers from its structure."""

    query: Tensor  # (B, key_channels, H/8, W/8)
    texture: Tensor  # (B, texture_channels, H/8, W/8), in the space of the texture features
    image: Tensor  # (B, 3, H, W)


def memories_of(branches: Mapping[str, "Branch"]) -> dict[str, Memory]:
    """Return the memories of branches by name; those without one are left out."""
    return {name: branch.memory for name, branch in branches.items() if branch.memory is not None}


class Branch(nn.Module):
    """Structure to texture to image; the decoder sees the texture only, so nothing passes by the memory.

    Args:
        encoder: From the structure to queries (B, key_channels, H/8, W/8).
        texture_channels: Channels of the texture features, the memory's values.
        key_channels: Channels of the query.
        widths: Channels of the decoder at strides 8 and 4.
        memory: The memory, or ``None`` to map the query to texture by one convolution (ablation).
    """

    def __init__(
        self,
        encoder: nn.Module,
        texture_channels: int,
        key_channels: int,
        widths: Sequence[int],
        memory: Memory | None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.memory = memory
        self.direct = nn.Conv2d(key_channels, texture_channels, 1) if memory is None else nn.Identity()
        self.decoder = texture_decoder(texture_channels, widths)

    def forward(self, structure: Tensor) -> BranchOutput:
        """Infer texture and image from a structure (B, structure_channels, H, W) or (.., H/8, W/8)."""
        query = self.encoder(structure)
        texture = self.direct(query) if self.memory is None else self.memory(query).value
        return BranchOutput(query, texture, self.decoder(texture))


def structure_encoder(channels: int, stride: int, key_channels: int) -> nn.Sequential:
    """Return convolutions from a structure to queries on the feature grid."""
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
    """Return convolutions from texture features at stride 8 to an image."""
    wide, narrow = widths
    return nn.Sequential(
        conv_block(channels, wide, kernel_size=1),
        conv_block(wide, wide),
        up_block(wide, narrow),
        shuffle_block(narrow, 3, 4),
    )
