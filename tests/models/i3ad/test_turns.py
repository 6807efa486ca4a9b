"""What is shown of I3AD's turns: on the scale of the masks, and only where somebody draws it."""

import itertools
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from anomalib_stc.models import I3ad
from anomalib_stc.models.i3ad import lightning_model
from anomalib_stc.models.i3ad.turns import trace, turn_pictures
from anomalib_stc.parts.features import GRID_STRIDE
from tests.models.contract import SIDE, images

SMALL = {"image_size": SIDE, "codebook_items": 16}


@pytest.fixture(scope="module")
def model() -> I3ad:
    """With bank and scales of noise, and two turns after the first."""
    torch.manual_seed(0)
    model = I3ad(**SMALL, iterations=2).eval()
    normals = images((SIDE, SIDE), 4, seed=5)
    with torch.no_grad():
        model.model.prepare([normals], seed=0)
        model.model.calibrate(lambda: iter([normals]))
    return model


@torch.no_grad()
def test_images_masks_and_suspicion_of_every_turn(model: I3ad) -> None:
    image = images((SIDE, SIDE), 2)
    pictures = turn_pictures(model.model, model.model.infer(image))
    assert pictures.shape == (2, 3, 5, SIDE, SIDE)
    for number, turn in enumerate(trace(model.model, image)):
        assert torch.equal(pictures[:, number, :3], turn.image)
        assert torch.equal(pictures[:, number, 3:4], turn.mask)
        assert torch.equal(pictures[:, number, 4:], turn.suspicion)


@torch.no_grad()
def test_what_is_most_suspicious_of_a_turn_is_hidden_by_the_next(model: I3ad) -> None:
    """Each on the scale of the mask's threshold; nothing depends on the image's own maximum, or on the score."""
    image = images((SIDE, SIDE), 2)
    image[1] /= 4
    told = trace(model.model, image)
    for before, after in itertools.pairwise(told):
        suspicious = F.max_pool2d((before.suspicion > 0.5).float(), GRID_STRIDE)
        around = F.max_pool2d(suspicious, 3, 1, 1)
        hidden = F.max_pool2d(after.mask, GRID_STRIDE)
        for cells, wide in zip(hidden, around, strict=True):
            assert torch.equal(cells, wide) if wide.mean() <= 0.5 else (cells <= wide).all(), "the cap hides less"
        assert hidden.any()
    alone = trace(model.model, image[1:])
    assert torch.allclose(alone[0].suspicion, told[0].suspicion[1:], atol=1e-4)


@torch.no_grad()
def test_turns_that_nobody_draws_are_not_computed(model: I3ad, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    real = turn_pictures
    monkeypatch.setattr(lightning_model, "turn_pictures", lambda *given: asked.append(given) or real(*given))
    inferred = model.model.infer(images((SIDE, SIDE), 1))
    assert set(model.pictures(inferred, {"image", "anomaly_map"})) == {"reconstruction"}
    assert asked == []
    assert set(model.pictures(inferred, {"turns"})) == {"reconstruction", "turns"}
