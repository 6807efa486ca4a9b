"""Thresholds: what a model's training left, and what held-out normals say of a peer, ours and anomalib's."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from anomalib.metrics import F1AdaptiveThreshold

from anomalib_stc.host.post_processor import PIXEL_IMAGES, NormalPostProcessor, pixel_threshold, summary
from anomalib_stc.parts.quantile import upper_quantile
from benchmarks.one import build, thresholds_of
from benchmarks.thresholds import Thresholds
from tests.models.contract import SIDE

SCORES = np.arange(40.0)
MAPS = np.random.default_rng(0).permutation(40 * 25 * 10).reshape(40, 25, 10).astype(np.float32)


def test_held_out_normals_set_quantiles_and_maxima() -> None:
    found = Thresholds.of_normals(SCORES, MAPS, rate=0.1)
    assert found.image == upper_quantile(torch.from_numpy(SCORES), 0.9).item()
    assert found.pixel == pixel_threshold(summary(torch.from_numpy(MAPS), 0.1), 0.1).item()
    above = (found.pixel < MAPS).mean(axis=(1, 2))
    assert (above > 3 / 250).mean() == pytest.approx(0.1 * PIXEL_IMAGES, abs=0.05), "a hundredth of 250, rounded up"
    assert (found.host_image, found.host_pixel) == (39.0, 9999.0)


def test_the_maximum_is_what_anomalib_takes() -> None:
    metric: Any = F1AdaptiveThreshold(fields=["score", "label"])
    metric.update(SimpleNamespace(score=torch.from_numpy(SCORES), label=torch.zeros(40, dtype=torch.int)))
    assert float(metric.compute()) == Thresholds.of_normals(SCORES, MAPS, 0.1).host_image


def test_one_of_ours_has_raw_scores_and_its_own_thresholds() -> None:
    model: Any = build({"model": "stcm", "args": {}}, SIDE, rate=0.2)
    assert isinstance(model.post_processor, NormalPostProcessor)
    assert not model.post_processor.enable_normalization
    assert model.hparams["false_alarm_rate"] == 0.2
    model.post_processor.fit_normals(torch.tensor([1.0, 3.0]), summary(torch.tensor(MAPS[:2]), 0.1), 0.1)
    kept = model.post_processor.image_threshold, model.post_processor.pixel_threshold
    assert thresholds_of(None, model, None, 0.2)[:2] == tuple(map(float, kept))  # type: ignore[arg-type]


def test_an_argument_goes_before_the_rate() -> None:
    model: Any = build({"model": "arms.stcm.no_memory", "args": {"false_alarm_rate": 0.3}}, SIDE, rate=0.2)
    assert model.hparams["false_alarm_rate"] == 0.3
