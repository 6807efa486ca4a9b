"""What is shown of I3AD's turns: on the scale of the final map, and only where somebody draws it."""

from typing import Any

import pytest
import torch
from anomalib.post_processing import PostProcessor

from anomalib_stc.host.post_processor import summary
from anomalib_stc.models import I3ad
from anomalib_stc.models.i3ad import lightning_model
from anomalib_stc.models.i3ad.turns import trace, turn_pictures
from tests.models.contract import SIDE, images

SMALL = {"image_size": SIDE, "codebook_items": 16}


@pytest.fixture(scope="module")
def model() -> I3ad:
    """With bank, scales and thresholds of noise, and two turns after the first."""
    torch.manual_seed(0)
    model = I3ad(**SMALL, iterations=2).eval()
    normals = images((SIDE, SIDE), 4, seed=5)
    with torch.no_grad():
        model.model.prepare([normals], seed=0)
        model.model.calibrate(lambda: iter([normals]))
        normal = model.model(normals)
    model.post_processor.fit_normals(normal.pred_score, summary(normal.anomaly_map, 0.1), 0.1)
    return model


@torch.no_grad()
def test_images_masks_and_maps_of_every_turn(model: I3ad) -> None:
    image = images((SIDE, SIDE), 2)
    pictures = turn_pictures(model.model, model.model.infer(image), None)
    assert pictures.shape == (2, 3, 5, SIDE, SIDE)
    for number, turn in enumerate(trace(model.model, image)):
        assert torch.equal(pictures[:, number, :3], turn.image)
        assert torch.equal(pictures[:, number, 3:4], turn.mask)
        assert torch.equal(pictures[:, number, 4:], turn.anomaly_map)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["ours", "anomalib's"])
def test_maps_of_turns_have_the_scale_of_the_final_map(model: I3ad, kind: str) -> None:
    """Without turns after it the first turn's map is the final one; nothing depends on the image's own maximum."""
    processor = model.post_processor
    if kind == "anomalib's":
        processor = PostProcessor()
        for name, value in {"pixel_min": 0, "pixel_max": 90, "_pixel_threshold": 4}.items():
            getattr(processor, name).fill_(value)
    image = images((SIDE, SIDE), 2)
    image[1] /= 4
    single = I3ad(**SMALL, iterations=0).eval()
    single.load_state_dict(model.state_dict())
    final = processor(single.model(image)).anomaly_map
    turns = turn_pictures(model.model, model.model.infer(image), processor)
    torch.testing.assert_close(turns[:, 0, 4:], final)
    assert 0 < final[0].max() != final[1].max() < 1


@torch.no_grad()
def test_turns_that_nobody_draws_are_not_computed(model: I3ad, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    real = turn_pictures
    monkeypatch.setattr(lightning_model, "turn_pictures", lambda *given: asked.append(given) or real(*given))
    inferred = model.model.infer(images((SIDE, SIDE), 1))
    assert set(model.pictures(inferred, {"image", "anomaly_map"})) == {"reconstruction"}
    assert asked == []
    assert set(model.pictures(inferred, {"turns"})) == {"reconstruction", "turns"}
