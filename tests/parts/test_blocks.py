"""The blocks' closed forms."""

import torch

from anomalib_stc.parts.blocks import shuffle_block


def test_shuffle_block_starts_without_a_grid() -> None:
    block = shuffle_block(5, 3, 4)
    image = block(torch.rand(2, 5, 6, 7, generator=torch.Generator().manual_seed(0)))
    assert image.shape == (2, 3, 24, 28)
    cells = image.unfold(2, 4, 4).unfold(3, 4, 4)
    torch.testing.assert_close(cells.amax((-2, -1)), cells.amin((-2, -1)))
