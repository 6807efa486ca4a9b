"""Memories are filled from places of normal images: keys and values of every branch from the same ones."""

import pytest
import torch
from torch import nn

from anomalib_stc.parts import clusters
from anomalib_stc.parts.branch import Branch, initialise_memories, memories_of, structure_encoder
from anomalib_stc.parts.memory import Memory
from anomalib_stc.parts.rounding import unit


@pytest.mark.parametrize("items", [6, 100])
def test_keys_and_values_are_of_the_same_places(items: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where queries are the features themselves, of unit length, every key is the value; 100 items repeat 40 places."""
    monkeypatch.setattr(clusters, "POINTS", 20)
    features = unit(torch.randn(2, 5, 4, 5, generator=torch.Generator().manual_seed(0)))
    branches = {name: Branch(nn.Identity(), Memory(items, 5, 5), nn.Identity()) for name in ("first", "second")}
    initialise_memories(branches, [dict.fromkeys(branches, part) for part in features.split(1)], features.split(1), 3)
    first, second = memories_of(branches).values()
    torch.testing.assert_close(first.keys, first.values)
    assert torch.equal(first.keys, second.keys)
    assert first.values.norm(dim=1).min() > 0


@pytest.mark.parametrize(("channels", "keys"), [(0, 48), (3, 0), (3, 1), (3, 4.0)])
def test_an_encoder_of_no_channels_is_one_sentence(channels: int, keys: int) -> None:
    with pytest.raises(
        ValueError, match=r"^(Structure's|Key) channels came as .*, expected a whole number, [12] or more"
    ):
        structure_encoder(channels, 2, keys)
