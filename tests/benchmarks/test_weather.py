"""Weather alters the test images and nothing else: the same for every model, masks where the defects are."""

import pytest
import torch
from anomalib.data import ImageItem
from anomalib.data.dataclasses import ImageBatch
from torch.utils.data import Dataset

from benchmarks.predictions import Predictions
from benchmarks.thresholds import Thresholds
from benchmarks.weather import KINDS, SHIFT, altered_loader, focus, weather

SIDE = 64
SPOT = 20  # row and column of the defect's first pixel


class Spots(Dataset):
    """Six grey images, every second one with a white square and its mask."""

    collate_fn = staticmethod(ImageBatch.collate)

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> ImageItem:
        image, mask = torch.full((3, SIDE, SIDE), 0.5), torch.zeros(SIDE, SIDE, dtype=torch.bool)
        mask[SPOT : SPOT + 8, SPOT : SPOT + 8] = bool(index % 2)
        image[:, mask] = 0.9
        return ImageItem(image=image, gt_mask=mask, gt_label=torch.tensor(index % 2), image_path=f"{index}.png")


def predict(loader) -> list[ImageBatch]:
    """Brightness as the map, its highest value as the score."""
    batches = list(loader)
    for batch in batches:
        batch.anomaly_map = batch.image.mean(1)
        batch.pred_score = batch.anomaly_map.amax((1, 2))
    return batches


def images(kind: str) -> torch.Tensor:
    """The images (6, 3, H, W) in one kind of weather."""
    return torch.cat([batch.image for batch in altered_loader(Spots(), kind, 4)])


@pytest.fixture
def plain() -> torch.Tensor:
    """The images as they are."""
    return torch.stack([Spots()[index].image for index in range(6)])


@pytest.mark.parametrize("kind", KINDS)
def test_weather_is_the_same_at_every_call_and_changes_defects(kind: str, plain: torch.Tensor) -> None:
    assert torch.equal(images(kind), images(kind))
    assert images(kind).shape == plain.shape
    assert (images(kind) - plain)[1].abs().max() > 0.01
    assert images(kind).min() >= 0
    assert images(kind).max() <= 1


def test_light_is_a_shorter_exposure(plain: torch.Tensor) -> None:
    torch.testing.assert_close(images("light"), 0.8 * plain**1.1)


def test_focus_blurs_an_edge_by_its_width() -> None:
    edge = (torch.arange(256) >= 128).float().expand(3, 256, 256)
    profile = focus(edge)[0, 128, 124:132]
    torch.testing.assert_close(profile, torch.special.ndtr((torch.arange(-4, 4) + 0.5) / 1.5), atol=0.01, rtol=0)


def test_noise_has_its_strength_and_differs_between_images(plain: torch.Tensor) -> None:
    difference = images("noise") - plain
    assert float(difference[::2].std()) == pytest.approx(0.03, rel=0.05)
    assert not torch.equal(difference[0], difference[2])


def test_masks_move_with_the_image() -> None:
    (batch,) = altered_loader(Spots(), "shift", 6)
    by = round(SHIFT * SIDE)
    assert torch.equal(batch.gt_mask, batch.image[:, 0] > 0.7)
    assert batch.gt_mask[1, SPOT + by, SPOT + by]
    assert not batch.gt_mask[1, SPOT + by - 1].any()


def test_a_model_is_measured_in_every_weather_at_its_own_threshold() -> None:
    found = Predictions.of(predict(altered_loader(Spots(), "shift", 4)))._replace(thresholds=Thresholds(image=0.8))
    rows = weather(found, Spots(), 4, predict).set_index("kind")
    assert list(rows.index) == ["none", *KINDS]
    assert rows.loc["none"].tolist() == [1, 1, 1, 0]
    assert rows.loc["light"].tolist() == [1, 1, 0, 0]  # still in order, but all of it below the threshold
    assert rows.loc["noise", "false_alarms"] == 0
