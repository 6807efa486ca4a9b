"""The metrics have the values they should on cases one can work out, with masks and without."""

import pytest
import torch
from anomalib.data import ImageBatch

from anomalib_stc.host.evaluator import AuproEvaluator

PIXEL = {"pixel_AUROC", "pixel_F1Score", "pixel_AUPRO"}
IMAGE = {"image_AUROC", "image_F1Score"}


def metrics(anomaly_map: torch.Tensor | None, mask: torch.Tensor | None) -> dict[str, torch.Tensor | None]:
    """Values of all metrics for two images, the second anomalous and scored so."""
    evaluator = AuproEvaluator()
    for index in range(2):
        one = slice(index, index + 1)
        batch = ImageBatch(
            image=torch.zeros(1, 3, 16, 16),
            gt_label=torch.tensor([index]),
            gt_mask=None if mask is None else mask[one],
            pred_score=torch.tensor([0.2 + 0.6 * index]),
            pred_label=torch.tensor([index]),
            anomaly_map=None if anomaly_map is None else anomaly_map[one],
            pred_mask=None if anomaly_map is None else anomaly_map[one] > 0.5,
        )
        for metric in evaluator.test_metrics:
            metric.update(batch)
    return {metric.name: metric.compute() for metric in evaluator.test_metrics}


@pytest.fixture
def mask() -> torch.Tensor:
    """Two regions of 4 and 12 pixels in the second image."""
    mask = torch.zeros(2, 16, 16)
    mask[1, 2:4, 2:4] = 1
    mask[1, 8:12, 8:11] = 1
    return mask


def test_a_perfect_map_scores_one(mask: torch.Tensor) -> None:
    values = metrics(mask * 0.8 + 0.1, mask)
    assert values.keys() == PIXEL | IMAGE
    for name, value in values.items():
        assert value.item() == pytest.approx(1, abs=1e-3), name


def test_aupro_weighs_regions_not_pixels(mask: torch.Tensor) -> None:
    anomaly_map = torch.rand(mask.shape, generator=torch.Generator().manual_seed(0)) * 0.4
    anomaly_map[1, 2:4, 2:4] = 0.9
    values = metrics(anomaly_map, mask)
    assert values["pixel_AUPRO"].item() == pytest.approx(0.5 + 0.5 * 0.15, abs=0.08)
    assert values["pixel_F1Score"].item() == pytest.approx(2 * 4 / (2 * 4 + 12))


@pytest.mark.parametrize("anomaly_map", [torch.rand(2, 16, 16), None])
def test_without_masks_only_image_metrics_are_reported(anomaly_map: torch.Tensor | None) -> None:
    values = metrics(anomaly_map, None)
    assert {name for name, value in values.items() if value is not None} == IMAGE


def test_masks_without_anomalies_do_not_stop_the_run() -> None:
    values = metrics(torch.rand(2, 16, 16), torch.zeros(2, 16, 16))
    assert values["pixel_AUPRO"] == 0


def test_a_checkpoint_does_not_depend_on_it() -> None:
    assert AuproEvaluator().state_dict() == {}
