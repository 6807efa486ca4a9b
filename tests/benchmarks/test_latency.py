"""The cost of an export is measured for one image, also of models whose export for any number takes two only."""

from pathlib import Path
from typing import Any

import torch
from anomalib.models import Patchcore

from benchmarks.latency import exported_cost


def test_patchcore_takes_one_image(tmp_path: Path) -> None:
    model: Any = Patchcore(
        backbone="tf_efficientnet_lite0",
        layers=["blocks.2"],
        pre_trained=False,
        pre_processor=Patchcore.configure_pre_processor((64, 64)),
        post_processor=False,
    )
    model.model.memory_bank = torch.rand(50, 40)
    cost = exported_cost(model, 64, tmp_path)
    assert cost["latency_ms"] > 0
    assert cost["images_per_s"] > 0
    assert 0 < cost["size_mb"] < 20
