"""I3AD keeps the contract of every model, and its own promises."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from anomalib_stc.models import I3ad
from anomalib_stc.models.i3ad.torch_model import AGGREGATIONS, MASKED_BY, Turn
from anomalib_stc.models.i3ad.training_masks import complementary
from anomalib_stc.models.i3ad.turns import SignalToNoise, drawn, iterations
from anomalib_stc.parts.features import GRID_STRIDE
from tests.models.contract import SIDE, ModelContract, images, untrained

SMALL = {"image_size": SIDE, "widths": (8, 12, 16), "mask_cells": (4, 16), "codebook_items": 16}
SWITCHES = {
    "no iterations": {"iterations": 0},
    "many iterations": {"iterations": 5},
    "plain autoencoder": {"inpainting": False, "iterations": 0},
    "two masks": {"grid_masks": 2, "grid_cell": 8},
    "no adversarial loss": {"adversarial_loss": 0.0},
    "no colour": {"colour": 0.0},
    "from scratch": {"backbone": "none"},
    "similarity in the map": {"similarity_score": 1.0},
    "features only": {"colour_score": 0.0},
    "mean": {"image_score": "mean"},
    **{f"masked by {name}": {"masked_by": name} for name in MASKED_BY},
    **{f"aggregation {name}": {"aggregation": name} for name in AGGREGATIONS},
}


def build(**arguments: Any) -> I3ad:
    model = I3ad(**{**SMALL, **arguments})
    model.log = model.log_dict = lambda *args, **kwargs: None
    return model


class TestContract(ModelContract):
    @staticmethod
    def build(**arguments: Any) -> I3ad:
        """With turns enough that one goes on from another's mask, in the export too."""
        return I3ad(**{**SMALL, "iterations": 2, **arguments})


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
    model = build(grid_masks=3, grid_cell=16).eval().model
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
    model.fit_thresholds(iter([images((SIDE, SIDE), 4, seed=5)]))
    image = images((SIDE, SIDE), 2)
    turns = model.infer(image).turns
    assert len(turns) == 4
    for before, after in itertools.pairwise(turns):
        mask = model.mask(model.suspicion.combine(before.residuals, (SIDE, SIDE)))
        assert torch.equal(after.mask, mask)
        assert torch.equal(after.image, model.inpaint(image, mask))
        visible = (mask == 0).expand_as(image)
        assert torch.equal(after.image[visible], image[visible])
        hidden = F.avg_pool2d(mask, GRID_STRIDE)
        assert (after.residuals["feature"][hidden == 0] == 0).all()
        assert hidden.mean() <= 0.5


@pytest.mark.parametrize(
    ("name", "hidden", "visible"),
    [("last", 4.0, 0.0), ("mean", 3.0, 0.5), ("mean_first", 5.0, 1.5), ("mean_kept", 3.0, 1.0)],
)
def test_aggregation(name: str, hidden: float, visible: float) -> None:
    """Residuals 2, 4 where the second turn hid; 1, 0 where it did not."""
    model = build(aggregation=name).model
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8] = 1
    residuals = torch.tensor([[2.0, 1.0], [4.0, 0.0]]).reshape(2, 1, 1, 1, 2).expand(-1, -1, -1, 2, -1)
    turns = [
        Turn(shown, mask, {"feature": r}) for shown, r in zip((torch.ones_like(mask), mask), residuals, strict=True)
    ]
    result = model.aggregate(turns, "feature")
    assert torch.equal(result, torch.tensor([hidden, visible]).expand(1, 1, 2, 2))


@torch.no_grad()
def test_thresholds_leave_the_wanted_share_of_normal_cells() -> None:
    module = build(mask_quantile=0.9, mask_dilation=0)
    model = module.eval().model
    normals = images((SIDE, SIDE), 8, seed=5)
    model.fit_thresholds(iter(normals.split(3)))
    first = model.first(normals, model.features(normals)).residuals
    residual = model.suspicion.combine(first, (SIDE, SIDE))
    assert residual.mean().item() == pytest.approx(1, abs=1e-4)
    assert model.mask(residual).mean().item() == pytest.approx(0.1, abs=0.02)


@torch.no_grad()
def test_iterations_tell_what_every_turn_did() -> None:
    model = build(iterations=2, aggregation="last").eval().model
    image = images((SIDE, SIDE), 2)
    told = iterations(model, image)
    assert len(told) == 3
    torch.testing.assert_close(told[-1].anomaly_map, model(image).anomaly_map)
    pictures = drawn(model, model.infer(image))
    assert pictures.shape == (2, 3, 5, SIDE, SIDE)
    assert pictures.min() >= 0
    assert pictures.max() == 1


@torch.no_grad()
def test_signal_to_noise_by_hand() -> None:
    """Residual 3 inside the defect and 1 elsewhere; images without a defect do not count."""
    truth = torch.zeros(2, 1, SIDE, SIDE, dtype=torch.bool)
    truth[0, :, :16, :16] = True
    residual = 1 + 2 * truth.float()
    snr = SignalToNoise(2)
    snr.update([residual[1:], residual[1:]], truth[1:])
    assert snr.compute().isnan().all()
    snr.update([residual, residual**2], truth)
    snr.update([100 * residual[1:], residual[1:]], truth[1:])
    torch.testing.assert_close(snr.compute(), torch.tensor([3.0, 9.0]))


def test_signal_to_noise_of_a_single_turn_is_logged_once() -> None:
    model = build(iterations=0, log_snr=True)
    logged: list[dict[str, Any]] = []
    model.log_dict = logged.append
    model.on_test_epoch_end()
    truth = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.bool)
    truth[..., :16, :16] = True
    model.snr.update([1 + truth.float()], truth)
    model.on_test_epoch_end()
    model.on_test_epoch_end()
    assert logged == [{"snr_turn_0": pytest.approx(2)}]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"masked_by": "structure"}, "Mask's residual"),
        ({"aggregation": "median"}, "Aggregation"),
        ({"iterations": -1}, "Iterations"),
        ({"inpainting": False}, "Iterations"),
        ({"grid_masks": 1}, "Grid masks"),
        ({"grid_cell": 12}, "Grid cell"),
        ({"grid_cell": SIDE}, "Grid cell"),
        ({"feature_loss": 0.0}, "Feature loss"),
        ({"doubt_loss": 0.0}, "Doubt loss"),
        ({"masked_loss": -1.0}, "Loss weights"),
        ({"mask_quantile": 1.0}, "Mask quantile"),
        ({"mask_dilation": -1}, "Mask dilation"),
        ({"mask_cap": 0.0}, "Mask cap"),
        ({"widths": (8, 16)}, "Widths"),
    ],
)
def test_a_wrong_argument_is_one_sentence(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence} .*expected .*"):
        build(**arguments)
