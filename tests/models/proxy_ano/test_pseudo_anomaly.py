"""Where patches go, how large they are, where they come from, and that no gradient passes by them."""

import pytest
import torch
from torch import Tensor

from anomalib_stc.models.proxy_ano.pseudo_anomaly import PatchPaste

SIDE = 100


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def ramp(count: int = 1) -> Tensor:
    """Images (count, 3, SIDE, SIDE) of which no two pixels are equal."""
    return torch.arange(float(count * 3 * SIDE * SIDE)).view(count, 3, SIDE, SIDE) / (count * 3 * SIDE * SIDE) + 1


def black(count: int = 1) -> Tensor:
    return torch.zeros(count, 3, SIDE, SIDE)


def test_inside_is_image_outside_is_proxy() -> None:
    image, proxy = ramp(4), black(4)
    pasted, mask = PatchPaste(1.0)(proxy, image)
    assert (pasted[mask.expand_as(pasted) == 0] == 0).all()
    assert (pasted[mask.expand_as(pasted) == 1] >= 1).all()
    assert image.equal(ramp(4))
    assert proxy.equal(black(4))


def test_random_position_moves_a_whole_patch_of_the_image() -> None:
    paste = PatchPaste(1.0, size=(0.2, 0.2))
    paste.form = torch.ones  # type: ignore[method-assign] # a rectangle, whose corners can be found
    pasted, mask = paste(black(), ramp())
    rows, columns = mask[0, 0].nonzero().T
    patch = pasted[0, :, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    top, left = divmod(int((ramp()[0, 0] == patch[0, 0, 0]).flatten().nonzero()), SIDE)
    assert torch.equal(patch, ramp()[0, :, top : top + 20, left : left + 20])
    assert (top, left) != (int(rows.min()), int(columns.min()))


def test_patches_come_from_the_images_given() -> None:
    image = torch.arange(1.0, 4.0)[:, None, None, None].expand(3, 3, SIDE, SIDE)
    pasted, _ = PatchPaste(1.0)(black(3), image.roll(-1, 0))
    assert pasted.amax((1, 2, 3)).tolist() == [2, 3, 1]


@pytest.mark.parametrize("size", [(0.05, 0.25), (0.1, 0.1), (0.3, 0.9)])
def test_sides_stay_in_their_range(size: tuple[float, float]) -> None:
    _, mask = PatchPaste(1.0, size=size)(black(200), black(200))
    for sides in (mask.amax(3).sum((1, 2)), mask.amax(2).sum((1, 2))):
        assert size[0] * SIDE <= sides.min()
        assert sides.max() <= size[1] * SIDE
    if size[0] < size[1]:
        assert sides.max() - sides.min() > 0.7 * (size[1] - size[0]) * SIDE


def test_half_of_the_patches_are_ellipses() -> None:
    _, mask = PatchPaste(1.0, size=(0.4, 0.6))(black(300), black(300))
    box = mask.amax(3).sum((1, 2)) * mask.amax(2).sum((1, 2))
    filled = mask.sum((1, 2, 3)) / box
    assert (filled == 1).float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert filled[filled < 1].mean().item() == pytest.approx(torch.pi / 4, abs=0.02)


def test_patches_reach_every_part() -> None:
    _, mask = PatchPaste(1.0)(black(600), black(600))
    assert torch.nn.functional.max_pool2d(mask.amax(0), 10).min() == 1


def test_probability() -> None:
    _, mask = PatchPaste(0.3)(black(1000), black(1000))
    assert mask.flatten(1).amax(1).mean().item() == pytest.approx(0.3, abs=0.05)
    assert PatchPaste(0.0)(black(50), ramp(50)).mask.sum() == 0


def test_no_gradient_passes_through_a_pasted_sample() -> None:
    proxy = black(40).requires_grad_()
    pasted, mask = PatchPaste(0.5)(proxy, ramp(40))
    pasted.sum().backward()
    touched = mask.flatten(1).amax(1)
    assert 0 < touched.sum() < 40
    assert torch.equal(proxy.grad.flatten(1).amax(1), 1 - touched)


def test_the_same_seed_pastes_the_same() -> None:
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        results.append(PatchPaste(0.5)(black(8), ramp(8)).proxy)
    assert torch.equal(*results)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"probability": 1.5}, "Share of pseudo anomalies came as 1.5, expected 0 to 1"),
        ({"size": (0.3, 0.2)}, "Size of pseudo anomalies came as "),
        ({"size": (0.0, 0.2)}, "Size of pseudo anomalies came as "),
    ],
)
def test_a_wrong_argument_is_one_sentence(arguments: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        PatchPaste(**{"probability": 0.5, **arguments})
