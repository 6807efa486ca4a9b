"""What stands out from the rest of its image, by closed forms."""

import pytest
import torch
from torch import Tensor

from anomalib_stc.parts.contrast import CONTRASTS, IMAGE, NEAR, TEXTURE, around, contrast, medians
from anomalib_stc.parts.features import Seen

SIDE = 256
CELLS = SIDE // 4


def seen(image: Tensor, fine: Tensor | None = None) -> Seen:
    flat = torch.ones(len(image), 2, CELLS, CELLS)
    return Seen(image, torch.empty(0), flat if fine is None else fine)


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", CONTRASTS)
def test_nothing_stands_out_where_all_is_equal(name: str) -> None:
    found = contrast(name, seen(torch.full((2, 3, SIDE, SIDE), 0.7)))
    torch.testing.assert_close(found, torch.zeros(2, 1, CELLS, CELLS), atol=1e-6, rtol=0)


def test_a_spot_stands_out_from_its_surroundings_and_from_the_image() -> None:
    """A cell of another red: surroundings of 112 pixels have a share of 1 / 28 ** 2 of it."""
    image = torch.full((1, 3, SIDE, SIDE), 0.5)
    image[0, 0, 128:132, 128:132] = 0.8
    near, whole = (contrast(name, seen(image))[0, 0] for name in (NEAR, IMAGE))
    assert whole[32, 32].item() == pytest.approx(0.3 / 3)
    assert near[32, 32].item() == pytest.approx(0.3 / 3 * (1 - 1 / 28**2), rel=1e-5)
    assert whole.count_nonzero() == 1
    assert near[30, 30].item() == pytest.approx(0.3 / 3 / 28**2, rel=1e-4)
    assert near[:12].max() < 1e-6


def test_half_an_image_of_another_colour_is_no_contrast_to_its_surroundings() -> None:
    """Far from the edge; to the image it is."""
    image = torch.full((1, 3, SIDE, SIDE), 0.2)
    image[..., 160:] = 0.9
    assert contrast(NEAR, seen(image))[0, 0, :, -6:].max() < 1e-6
    assert contrast(IMAGE, seen(image))[0, 0, :, -6:].min().item() == pytest.approx(0.7)


def test_features_stand_out_by_their_squared_distance() -> None:
    fine = noise(2, 5, CELLS, CELLS)
    expected = (fine - around(fine)).pow(2).sum(1, keepdim=True)
    assert torch.equal(contrast(TEXTURE, seen(noise(2, 3, SIDE, SIDE), fine)), expected)


def test_what_is_beyond_a_border_is_left_out() -> None:
    maps = torch.full((1, 1, 16, 24), 3.0)
    torch.testing.assert_close(around(maps), maps)


def test_surroundings_are_means_of_the_nearest() -> None:
    maps = noise(1, 2, 64, 64)
    inner = maps[:, :, 16:44, 16:44].mean((2, 3))
    found = around(maps)[:, :, 29:31, 29:31].mean((2, 3))  # in the middle of a part of four cells
    torch.testing.assert_close(found, inner, atol=2e-3, rtol=0)


def test_medians_are_those_of_cells_twice_as_wide() -> None:
    """The lower one of the two in the middle, as torch's own."""
    maps = noise(2, 3, 8, 10)
    wide = maps.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2)).flatten(2)
    torch.testing.assert_close(medians(maps), wide.median(2).values)
