"""What stands in a memory's place where a claim asks what the memory is good for."""

import torch
from torch import Tensor, nn

from anomalib_stc.parts.memory import MemoryRead


class NoMemory(nn.Module):
    """Maps every query to a texture by one convolution over one place.

    Args:
        key_channels: Channels of queries.
        value_channels: Channels of textures.
    """

    def __init__(self, key_channels: int, value_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(key_channels, value_channels, 1)

    def forward(self, query: Tensor) -> MemoryRead:
        """Answer queries (B, key_channels, h, w) as a memory with one item would."""
        return MemoryRead(self.conv(query), torch.ones_like(query[:, :1]))
