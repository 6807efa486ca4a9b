"""I3AD keeps the contract of every model, and its own promises."""

import itertools
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from anomalib_stc.models import I3ad
from anomalib_stc.models.i3ad.adaptive_mask import AdaptiveMask
from anomalib_stc.models.i3ad.torch_model import Turn
from anomalib_stc.models.i3ad.training_masks import complementary
from anomalib_stc.parts.bank import TERMS
from anomalib_stc.parts.features import GRID_STRIDE
from anomalib_stc.parts.quantile import upper_quantile
from tests.models.contract import SIDE, ModelContract, images, untrained

SMALL = {"image_size": SIDE, "codebook_items": 16}
OWN = {"feature": 1.0, "colour": 1.0}
SWITCHES: dict[str, dict[str, Any]] = {
    "many iterations": {"iterations": 5},
    "small cells": {"cell": 8},
    "no adversarial loss": {"loss_weights": {"adversarial": 0.0}},
    "from scratch": {"backbone": "none"},
    "similarity in the map": {"score_weights": {"similarity": 1.0}},
    "features only": {"score_weights": {**dict.fromkeys(TERMS, 0.0), "feature": 1.0}},
    "mean": {"image_score": "mean"},
}


def build(**arguments: Any) -> I3ad:
    return I3ad(**{**SMALL, **arguments})


class TestContract(ModelContract):
    @staticmethod
    def build(**arguments: Any) -> I3ad:
        """With a turn that goes on from another's mask, in the export too."""
        return build(**{"iterations": 1, "score_weights": OWN, **arguments})


@pytest.mark.parametrize("arguments", SWITCHES.values(), ids=SWITCHES.keys())
def test_every_part_can_be_switched(arguments: dict[str, Any]) -> None:
    model = build(**arguments)
    assert untrained(model) == []
    assert model.eval().model(images((SIDE, SIDE), 2)).anomaly_map.shape == (2, 1, SIDE, SIDE)


@pytest.fixture(params=["eval", "train"])
def network(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    return build().model.inpaint.train(request.param == "train")


def half(batch: int = 2) -> Tensor:
    """Masks of scattered pixels, not of cells."""
    return (images((SIDE, SIDE), batch, seed=3)[:, :1] > 0.5).float()


def test_hidden_pixels_change_nothing(network: Any) -> None:
    image, other, mask = images((SIDE, SIDE), 2), images((SIDE, SIDE), 2, seed=1), half()
    changed = torch.where(mask > 0, other, image)
    for first, second in zip(network.fill(image, mask), network.fill(changed, mask), strict=True):
        assert torch.equal(first, second)
    nothing = torch.where(mask > 0, torch.nan, image)
    assert torch.isfinite(network(nothing, mask)).all()


def test_visible_pixels_are_those_of_the_input_bit_for_bit(network: Any) -> None:
    image, mask = images((SIDE, SIDE), 2), half()
    filled = network(image, mask)
    visible = (mask == 0).expand_as(image)
    assert torch.equal(filled[visible], image[visible])
    assert not torch.isclose(filled[~visible], image[~visible]).all()


def test_visible_pixels_reach_the_whole_image(network: Any) -> None:
    """What is inpainted depends on what is seen, over a hidden square of half the side."""
    mask = torch.zeros(2, 1, SIDE, SIDE)
    mask[..., 16:48, 16:48] = 1
    first, second = (network(images((SIDE, SIDE), 2, seed), mask)[..., 31, 31] for seed in (0, 1))
    assert not torch.isclose(first, second).any()


@torch.no_grad()
def test_the_first_turn_hides_every_pixel_once() -> None:
    """By hand: one pass a mask, each pixel from the pass that hid it."""
    model = build(cell=16).eval().model
    image = images((SIDE, 96), 2)
    expected = torch.zeros_like(image)
    for mask in complementary(SIDE, 96, 3, 16):
        whole = mask[None].expand(2, -1, -1, -1)
        expected += model.inpaint.fill(image, whole).image * whole
    first = model.first(image, model.features(image))
    torch.testing.assert_close(first.image, expected, rtol=1e-5, atol=1e-5)
    assert first.mask.min() == 1


@torch.no_grad()
def test_the_residual_of_one_turn_masks_the_next() -> None:
    model = build(iterations=3).eval().model
    model.calibrate(lambda: iter([images((SIDE, SIDE), 4, seed=5)]))
    image = images((SIDE, SIDE), 2)
    turns = model.infer(image).turns
    assert len(turns) == 4
    for before, after in itertools.pairwise(turns):
        mask = model.mask(model.suspicious(before))
        assert torch.equal(after.mask, mask)
        assert torch.equal(after.image, model.inpaint(image, mask))
        visible = (mask == 0).expand_as(image)
        assert torch.equal(after.image[visible], image[visible])
        hidden = F.avg_pool2d(mask, GRID_STRIDE)
        assert (after.residuals["feature"][hidden == 0] == 0).all()
        assert hidden.mean() <= 0.5


def two_turns() -> list[Turn]:
    """Residuals 2, 4 where the second turn hid; 1, 0 where it did not."""
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8] = 1
    residuals = torch.tensor([[2.0, 1.0], [4.0, 0.0]]).reshape(2, 1, 1, 1, 2).expand(-1, -1, -1, 2, -1)
    masks = torch.ones_like(mask), mask
    return [Turn(shown, mask, {"feature": r}) for shown, r in zip(masks, residuals, strict=True)]


def test_a_place_that_a_turn_did_not_hide_keeps_its_residual() -> None:
    result = build().model.aggregate(two_turns(), "feature")
    assert torch.equal(result, torch.tensor([3.0, 1.0]).expand(1, 1, 2, 2))


@torch.no_grad()
def test_the_second_turn_hides_the_wanted_share_of_normal_cells() -> None:
    """What is rare is told of the same cells in calibration and in use; a rarity of means is no mean of rarities."""
    model = build(iterations=1).eval().model
    model.mask = AdaptiveMask(0.9, dilation=0)
    normals = images((SIDE, SIDE), 8, seed=5)
    model.calibrate(lambda: iter(normals.split(3)))
    turns = model.infer(normals).turns
    assert model.suspicious(turns[0]).mean().item() == pytest.approx(1, abs=0.05)
    assert turns[1].mask.mean().item() == pytest.approx(0.1, abs=0.02)


@torch.no_grad()
def test_calibration_keeps_no_maps_and_gives_the_numbers_of_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build().eval().model
    normals = images((SIDE, SIDE), 9, seed=5)
    turn = model.first(normals, model.features(normals))
    model.suspicion.calibrate(model.suspicious_cells(turn))
    scales = {name: model.suspicion.scale(name).clone() for name in model.suspicion.terms}
    threshold = upper_quantile(model.suspicious(turn), model.mask.normal)
    kept: list[weakref.ref] = []
    first = model.first

    def watched(image: Tensor, features: Tensor) -> Turn:
        assert sum(reference() is not None for reference in kept) <= 1, "of the batch before, at most"
        turn = first(image, features)
        kept.append(weakref.ref(turn.residuals["similarity"]))
        return turn

    monkeypatch.setattr(model, "first", watched)
    model.calibrate(lambda: iter(normals.split(2)))
    assert len(kept) > 5
    torch.testing.assert_close({name: model.suspicion.scale(name) for name in scales}, scales, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.mask.threshold, threshold, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"iterations": -1}, "Iterations"),
        ({"iterations": 1.5}, "Iterations"),
        ({"codebook_items": 1}, "Codebook's items"),
        ({"cell": 12}, "Cell"),
        ({"cell": 0}, "Cell"),
        ({"cell": -8}, "Cell"),
        ({"cell": SIDE}, "Cell"),
        ({"loss_weights": {"feature": 0.0}, "score_weights": {"feature": 1.0}}, "Loss weight 'feature'"),
        ({"loss_weights": {"feature": 0.0}, "iterations": 1}, "Loss weight 'feature'"),
        ({"loss_weights": {"doubt": 0.0}, "score_weights": {"colour": 1.0}}, "Loss weight 'doubt'"),
        ({"loss_weights": {"masked": -1.0}}, "Loss weights"),
        ({"score_weights": {"features": 1.0}}, "Score weights"),
        ({"image_score": "median"}, "Image score"),
        ({"learning_rate": 0.0}, "Learning rate"),
        ({"false_alarm_rate": 1.0}, "False alarm rate"),
    ],
)
def test_a_wrong_argument_is_one_sentence(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence} .*expected .*"):
        build(**arguments)
