"""What predictions take in memory, and what a run tells of itself by the names that programs read."""

import gc
import weakref
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from anomalib.data import Folder, ImageBatch
from anomalib.engine import Engine
from anomalib.metrics import AUROC, Evaluator
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor

from anomalib_stc.host.post_processor import summary
from anomalib_stc.models import I3ad, ProxyAno, Stcm
from tests.host.tiny_model import folder_data, write_images
from tests.models.contract import QUIET, SIDE, images
from tests.models.i3ad.test_model import SMALL as I3AD
from tests.models.proxy_ano.test_model import SMALL as PROXY_ANO
from tests.models.stcm.test_model import SMALL as STCM

BUILD: dict[str, Any] = {
    "stcm": lambda **given: Stcm(**STCM, **given),
    "proxy_ano": lambda **given: ProxyAno(**PROXY_ANO, **given),
    "i3ad": lambda **given: I3ad(**I3AD, iterations=1, **given),
}
IMAGE, MAP, MASK = 12, 4, 1  # bytes of a pixel
KEPT = {"image": IMAGE, "reconstruction": IMAGE, "anomaly_map": MAP, "pred_mask": MASK}


def scaled(model: Any) -> Any:
    """Return a model with bank, scales and thresholds of noise: enough to predict."""
    noise = images((SIDE, SIDE), 4)
    with torch.no_grad():
        model.eval().model.prepare([noise], seed=0)
        model.model.calibrate(lambda: iter([noise]))
        normal = model.model(noise)
    model.post_processor.fit_normals(normal.pred_score, summary(normal.anomaly_map, 0.1), 0.1)
    return model


def bytes_of_a_pixel(batch: ImageBatch) -> dict[str, float]:
    """Memory that stays allocated for each field of a batch, by pixel; less than half a byte is left out."""
    tensors = {field.name: getattr(batch, field.name) for field in fields(batch)}
    pixels = len(batch) * SIDE * SIDE
    kept = {
        name: value.untyped_storage().nbytes() / pixels for name, value in tensors.items() if torch.is_tensor(value)
    }
    return {name: value for name, value in kept.items() if value > 0.5}


@pytest.mark.parametrize("drawn", [True, False])
@pytest.mark.parametrize("name", BUILD)
def test_a_prediction_keeps_image_map_mask_and_what_was_rebuilt(tmp_path: Path, name: str, drawn: bool) -> None:
    folder = write_images(tmp_path / "images", [(SIDE, SIDE)] * 2)
    engine = Engine(default_root_dir=tmp_path / "out", **QUIET)
    batches = engine.predict(scaled(BUILD[name](visualizer=drawn)), data_path=folder)
    expected = {**KEPT, "proxy": IMAGE} if name == "proxy_ano" else KEPT
    assert [bytes_of_a_pixel(batch) for batch in batches] == [expected] * 2
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2 * drawn


class Alive(Callback):
    """Counts the reconstructions of a run that are still held when it ends."""

    def __init__(self) -> None:
        self.seen: list[weakref.ref[Tensor]] = []

    def on_predict_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, *args: Any) -> None:
        self.seen.append(weakref.ref(batch.reconstruction))

    def on_predict_end(self, trainer: Any, module: Any) -> None:
        gc.collect()
        self.count = sum(reference() is not None for reference in self.seen)


@pytest.mark.parametrize("name", BUILD)
def test_without_predictions_nothing_is_kept(tmp_path: Path, name: str) -> None:
    folder = write_images(tmp_path / "images", [(SIDE, SIDE)] * 4)
    alive = Alive()
    engine = Engine(default_root_dir=tmp_path / "out", callbacks=[alive], **QUIET)
    model = scaled(BUILD[name](visualizer=False))
    assert engine.predict(model, data_path=folder, return_predictions=False) is None
    assert len(alive.seen) == 4
    assert alive.count <= 1


@pytest.fixture
def data(tmp_path: Path) -> Folder:
    write_images(tmp_path / "good", [(SIDE, SIDE)] * 12)
    write_images(tmp_path / "bad", [(SIDE, SIDE)] * 4, bright=True)
    folders = {"normal_dir": "good", "abnormal_dir": "bad", "mask_dir": "bad_masks"}
    return folder_data(tmp_path, **folders, val_split_mode="same_as_test")


def auroc() -> AUROC:
    return AUROC(fields=["pred_score", "gt_label"], prefix="image_")


def test_the_names_of_losses_and_metrics_are_those_of_other_models(tmp_path: Path, data: Folder) -> None:
    """As GeneralAD's and Glass's: the loss in the progress bar and for callbacks, AUROC where it is asked for."""
    model = BUILD["stcm"](evaluator=Evaluator(val_metrics=[auroc()], test_metrics=[auroc()]))
    watched = [EarlyStopping("train_loss", patience=100), EarlyStopping("image_AUROC", mode="max", patience=100)]
    engine = Engine(default_root_dir=tmp_path / "out", callbacks=watched, max_epochs=2, **QUIET)
    engine.fit(model, datamodule=data)
    assert {"train_loss", "image_AUROC"} <= set(engine.trainer.callback_metrics)
    assert "train_loss_step" in engine.trainer.progress_bar_metrics
    assert all(torch.isfinite(callback.best_score) for callback in watched)
    assert set(engine.validate(model, datamodule=data)[0]) == {"image_AUROC"}
    assert set(engine.test(model, datamodule=data)[0]) == {"image_AUROC"}
