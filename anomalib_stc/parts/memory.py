"""Key-value memory of normal correspondences, addressed by cosine similarity.

After MemAE (Gong et al., ICCV 2019): softmax, shrinkage, renormalisation. Keys and values differ here, since the
memory maps one space on another; the shrinkage scales with the number of items and never cuts all of them.
"""

from math import inf
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_stc.parts.checks import check, check_positive, check_whole
from anomalib_stc.parts.rounding import EPSILON, unit


class MemoryRead(NamedTuple):
    """What the memory answers to a query."""

    value: Tensor  # (B, value_channels, H, W)
    address: Tensor  # (B, items, H, W), not negative, sums to 1 over the items


class Memory(nn.Module):
    """Maps a query to a convex combination of its values.

    Args:
        items: Number of items, N.
        key_channels: Channels of keys and queries.
        value_channels: Channels of values.
        temperature: Factor of the cosine similarity before the softmax; learned from this start.
        shrink: Weights below ``shrink / items`` of those kept are cut. The cut never exceeds half of the largest
            weight, so that one item survives whatever the query. It is a continuous function of the weights: rounding
            in an exported graph moves no item in or out with a jump.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        items: int,
        key_channels: int,
        value_channels: int,
        temperature: float = 10.0,
        shrink: float = 1.0,
    ) -> None:
        super().__init__()
        check_whole("Memory items", items)
        check_whole("Memory's key channels", key_channels)
        check_whole("Memory's value channels", value_channels)
        check_positive("Memory's temperature", temperature, 10.0)
        check("Memory's shrinkage", shrink, 0 <= shrink < inf, "0 or more, as 1")
        self.keys = nn.Parameter(torch.randn(items, key_channels))
        self.values = nn.Parameter(torch.randn(items, value_channels))
        self.log_temperature = nn.Parameter(torch.tensor(float(temperature)).log())
        self.shrink = shrink / items
        self.usage: Tensor
        self.register_buffer("usage", torch.zeros(items), persistent=False)

    def forward(self, query: Tensor) -> MemoryRead:
        """Answer a query of shape (B, key_channels, H, W)."""
        address = self.address(query)
        if self.training:
            self.usage += address.detach().float().sum((0, 2, 3))
        return MemoryRead(F.conv2d(address, self.values.t()[..., None, None]), address)

    def address(self, query: Tensor) -> Tensor:
        """Return the weights (B, items, H, W) of the items for every query."""
        weight = affinity(query, self.keys, self.log_temperature.exp())
        cut = (weight.sum(1, keepdim=True) * self.shrink).clamp(max=0.5)
        weight = F.relu(weight - cut)
        return weight / weight.sum(1, keepdim=True)

    @torch.no_grad()
    def write(self, keys: Tensor, values: Tensor) -> None:
        """Store keys (items, key_channels) and values (items, value_channels) as they are."""
        self.keys.copy_(keys)
        self.values.copy_(values)

    @torch.no_grad()
    def pop_usage(self) -> dict[str, Tensor]:
        """Return how the items were used since the last call, and start anew.

        Returns:
            ``dead``, the number of items with less than a hundredth of an equal share, and ``perplexity``, the
            effective number of items in use, from 1 (collapse) to the number of items.
        """
        share = self.usage / self.usage.sum().clamp(min=EPSILON)
        self.usage.zero_()
        return {"dead": (share < 0.01 / len(share)).sum().float(), "perplexity": torch.special.entr(share).sum().exp()}


def affinity(query: Tensor, keys: Tensor, temperature: Tensor | float) -> Tensor:
    """Return exp(temperature * cosine) of queries and keys, divided by the largest of every query.

    Divided by its sum it is the softmax over the keys, written so because OpenVINO runs this faster than a softmax over
    channels.

    Args:
        query: Queries (B, C, H, W).
        keys: Keys (N, C).
        temperature: Factor of the cosine similarity.

    Returns:
        Affinities (B, N, H, W) in [0, 1], the largest of every query 1.
    """
    similarity = F.conv2d(unit(query), unit(keys)[..., None, None])
    return ((similarity - similarity.amax(1, keepdim=True)) * temperature).exp()
