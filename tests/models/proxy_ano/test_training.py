"""ProxyAno trained for real: on a texture with a defect, with a picture of the proxy."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from anomalib.engine import Engine

from anomalib_stc.data import TextureDemo
from anomalib_stc.host.batch import ReconstructionBatch
from anomalib_stc.models import ProxyAno
from anomalib_stc.models.proxy_ano import superpixel
from tests.models.contract import QUIET
from tests.models.proxy_ano.test_model import OWN, SMALL
from tests.models.training_contract import TrainingContract


class TestTraining(TrainingContract):
    model = ProxyAno
    small = SMALL
    able: ClassVar = {"image_size": 96, "superpixels": 60, "memory_items": 100}
    own = OWN


def test_later_epochs_wait_for_no_superpixels(demo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real: Any = superpixel.slic
    monkeypatch.setattr(superpixel, "slic", lambda *args, **kwargs: calls.append(epoch()) or real(*args, **kwargs))
    model = ProxyAno(**SMALL)
    epoch = lambda: model.trainer.current_epoch  # noqa: E731
    engine = Engine(default_root_dir=tmp_path, max_epochs=3, limit_val_batches=0, **QUIET)
    engine.fit(model, datamodule=TextureDemo(root=demo_root, crop_size=70))
    assert calls == [0] * 54


def test_pictures(few_root: Path, tmp_path: Path) -> None:
    """A test run draws image, proxy, reconstruction and map."""
    model = ProxyAno(**SMALL)
    data = TextureDemo(root=few_root, crop_size=70)
    engine = Engine(default_root_dir=tmp_path, max_epochs=2, **QUIET)
    engine.fit(model, datamodule=data)
    batch = engine.predict(model, datamodule=data)[0]
    assert isinstance(batch, ReconstructionBatch)
    assert batch.proxy.shape == batch.image.shape
    assert 0 <= batch.proxy.min() <= batch.proxy.max() <= 1
    panels = [field for field in model.visualizer.fields if getattr(batch.items[0], field, None) is not None]
    assert panels[:4] == ["image", "proxy", "reconstruction", "anomaly_map"]
    assert torch.isfinite(batch.pred_score).all()
