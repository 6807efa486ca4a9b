"""Scales and thresholds come from held-out images, before every checkpoint, however training ends."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from anomalib.data import Folder, ImageBatch
from anomalib.engine import Engine
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2

from anomalib_stc.host.calibration import HoldoutCalibration
from anomalib_stc.host.post_processor import NormalPostProcessor
from anomalib_stc.parts.quantile import upper_quantile
from anomalib_stc.parts.score import AnomalyScore
from anomalib_stc.parts.scored_model import ScoredModel, mean_residuals
from tests.host.tiny_model import SIDE, TinyModel, folder_data, write_images

COUNT = 12
WEIGHTS = {"red": 2.0, "green": 1.0}


class Terms(ScoredModel):
    """Two residual terms: red and green channel, times a weight that training changes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.score = AnomalyScore(WEIGHTS, sigma=0.0)

    def prepare(self, normals: list[Tensor], seed: int) -> None:
        """There is nothing to fill."""

    def learn(self, image: Tensor) -> Tensor:
        return image

    def infer(self, image: Tensor) -> Tensor:
        assert not self.training
        return image

    def residuals(self, inferred: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        terms = {"red": inferred[:, :1] * self.weight.abs(), "green": 3 * inferred[:, 1:2, ::2, ::2]}
        return {name: terms[name] for name in names}


class Calibrated(TinyModel):
    def __init__(self) -> None:
        super().__init__(True, NormalPostProcessor())
        self.model = Terms()
        self.calibration = HoldoutCalibration(0.25, 0.1)
        self.trained_on: set[str] = set()

    @property
    def trainer_arguments(self) -> dict[str, Any]:
        """The length is the test's."""
        return {name: value for name, value in super().trainer_arguments.items() if name != "max_epochs"}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.calibration.complete(self, checkpoint)
        super().on_save_checkpoint(checkpoint)

    def on_train_start(self) -> None:
        self.calibration.find_images(self.trainer)

    def configure_callbacks(self) -> list[Callback]:
        return [*super().configure_callbacks(), self.calibration]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.model.parameters(), lr=0.01)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        assert self.model.training
        self.trained_on |= set(batch.image_path)
        return self.model.weight.square() * batch.image.mean()


class KeepAll(ModelCheckpoint):
    """A second checkpoint beside anomalib's own."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_images(tmp_path / "good", [(SIDE, 80)] * (COUNT + 4))
    write_images(tmp_path / "bad", [(SIDE, 80)] * 2, bright=True, seed=100)
    return tmp_path


def data(root: Path, **arguments: Any) -> Folder:
    """A quarter of the normal images validates, unless told otherwise; `COUNT` are left to train on."""
    settings = {"test_split_mode": "none", "val_split_mode": "from_train", "val_split_ratio": 0.25, **arguments}
    return folder_data(root, normal_dir="good", **settings)


def with_anomalies(root: Path) -> Folder:
    split = {"test_split_mode": "from_dir", "test_split_ratio": 0.25, "val_split_mode": "same_as_test"}
    return data(root, abnormal_dir="bad", **split)


def fit(root: Path, datamodule: Folder | None = None, **trainer: Any) -> tuple[Calibrated, Engine]:
    torch.manual_seed(0)
    model = Calibrated()
    engine = Engine(default_root_dir=root / "out", logger=False, enable_progress_bar=False, **trainer)
    engine.fit(model, datamodule=datamodule or data(root))
    return model, engine


def held_out(model: Calibrated) -> list[Tensor]:
    return list(model.calibration.images(model, model.calibration.held_out))


@torch.no_grad()
def expected_scale(model: Calibrated) -> list[float]:
    image = torch.cat(held_out(model))
    means = image.mean((0, 2, 3))
    green = image[:, 1, ::2, ::2].mean()
    return [(means[0] * model.model.weight.abs()).item(), 3 * green.item()]


def test_mean_terms_weigh_images_not_batches() -> None:
    model = Terms().eval()
    image = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    means = mean_residuals(model, iter(image.split([4, 1])))
    assert means["red"].item() == pytest.approx(image[:, 0].mean().item(), rel=1e-5)
    assert means["green"].item() == pytest.approx(3 * image[:, 1, ::2, ::2].mean().item(), rel=1e-5)


def scales(model: Calibrated) -> list[float]:
    return [model.model.score.scale(name).item() for name in WEIGHTS]


def test_held_out_images_are_not_trained_on_and_come_back(root: Path) -> None:
    datamodule = data(root)
    model, _ = fit(root, datamodule, max_epochs=1)
    held = set(model.calibration.held_out.samples.image_path)
    assert (len(held), len(model.trained_on)) == (3, 9)
    assert not held & model.trained_on
    assert len(datamodule.train_data) == COUNT


def test_held_out_images_are_seen_as_at_test_time(root: Path) -> None:
    model, _ = fit(root, data(root, train_augmentations=v2.RandomInvert(p=1.0)), max_epochs=1)
    seen = torch.cat(held_out(model))
    assert seen.shape == (3, 3, SIDE, SIDE)
    assert seen.max() < 0.6


def test_held_out_images_go_through_what_the_data_module_does_to_test_images(root: Path) -> None:
    model, _ = fit(root, data(root, augmentations=v2.RandomInvert(p=1.0)), max_epochs=1)
    assert torch.cat(held_out(model)).min() > 0.4
    assert scales(model) == pytest.approx(expected_scale(model), rel=1e-5)


def test_held_out_images_go_through_the_data_modules_collate_function(root: Path) -> None:
    datamodule = data(root)
    datamodule.external_collate_fn = left_half
    model, _ = fit(root, datamodule, max_epochs=1)
    assert torch.cat(held_out(model)).shape == (3, 3, SIDE, SIDE)
    wide = [item.image for item in model.calibration.held_out]
    torch.testing.assert_close(
        torch.cat(held_out(model)),
        torch.stack([model.pre_processor.transform(image[..., : SIDE // 2]) for image in wide]),
    )


def left_half(items: list[Any]) -> ImageBatch:
    """Cut images as a tiled ensemble does."""
    batch = ImageBatch.collate(items)
    return batch.update(image=batch.image[..., : SIDE // 2], gt_mask=None)


def test_images_of_mixed_sizes_are_held_out(tmp_path: Path) -> None:
    write_images(tmp_path / "good", [(SIDE + 3 * number, 80) for number in range(COUNT)])
    model, _ = fit(tmp_path, data(tmp_path, train_batch_size=2), max_epochs=1)
    assert model.model.score.calibrated


def test_more_than_8_bit_is_told(root: Path, recwarn: pytest.WarningsRecorder) -> None:
    Image.fromarray(np.full((SIDE, SIDE), 30000, dtype=np.uint16)).save(root / "good" / "deep.png")
    fit(root, max_epochs=1)
    told = [str(one.message) for one in recwarn if "more than 8 bit" in str(one.message)]
    assert len(told) == 1
    assert "deep.png has more than 8 bit a channel (mode I;16)" in told[0]


def test_a_truncated_image_is_named(root: Path) -> None:
    path = root / "good" / "5.png"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(OSError, match="truncated") as caught:
        fit(root, data(root, val_split_ratio=0.01), max_epochs=1)
    assert any("5.png cannot be read" in note and "replace or remove it" in note for note in caught.value.__notes__)


def test_scales_are_the_held_out_means_and_thresholds_their_quantile(root: Path) -> None:
    model, _ = fit(root, max_epochs=2)
    assert scales(model) == pytest.approx(expected_scale(model), rel=1e-5)
    model.model.eval()
    with torch.no_grad():
        scores = torch.cat([model.model(image).pred_score for image in held_out(model)])
    assert model.post_processor.image_threshold.item() == pytest.approx(upper_quantile(scores, 0.9).item(), rel=1e-5)


def assert_complete(path: Path, model: Calibrated) -> None:
    """A checkpoint has the scales of its own weights on the held-out images, and their thresholds."""
    saved = Calibrated.load_from_checkpoint(path, weights_only=True)
    saved.calibration.held_out = model.calibration.held_out
    assert scales(saved) == pytest.approx(expected_scale(saved), rel=1e-5), path.name
    assert saved.post_processor.normal_image_threshold.isfinite()
    assert saved.post_processor.normal_pixel_threshold.isfinite()


ENDINGS = {
    "epochs": ({"max_epochs": 2}, {3, 6}),
    "steps": ({"max_epochs": -1, "max_steps": 6}, {3, 6}),
    "steps within an epoch": ({"max_epochs": -1, "max_steps": 5}, {3, 5}),
    "steps within the first epoch": ({"max_epochs": -1, "max_steps": 2}, {2}),
    "time": ({"max_epochs": -1, "max_time": {"seconds": 1e-3}}, {1}),
    "rare validation": ({"max_epochs": 3, "check_val_every_n_epoch": 2}, {6}),
}


@pytest.mark.parametrize("datamodule", [data, with_anomalies], ids=["normal validation", "anomalies in validation"])
@pytest.mark.parametrize(("ending", "steps"), ENDINGS.values(), ids=ENDINGS.keys())
def test_every_checkpoint_is_complete(root: Path, ending: Any, steps: set[int], datamodule: Any) -> None:
    keep = KeepAll(root / "kept", filename="{step}", save_top_k=-1, save_last=True)
    model, _ = fit(root, datamodule(root), callbacks=[keep], **ending)
    paths = {path.name: path for path in (root / "kept").glob("*.ckpt")}
    assert {f"step={step}.ckpt" for step in steps} <= paths.keys()
    for path in paths.values():
        assert_complete(path, model)
    assert scales(model) == pytest.approx(expected_scale(model), rel=1e-5)


def test_the_last_checkpoint_is_complete_without_validation(root: Path) -> None:
    model, engine = fit(root, max_epochs=2, limit_val_batches=0)
    assert_complete(Path(engine.trainer.checkpoint_callback.best_model_path), model)


def test_without_a_data_module_the_training_images_serve_and_the_log_says_so(root: Path, caplog: Any) -> None:
    datamodule = data(root)
    datamodule.prepare_data()
    datamodule.setup()
    model = Calibrated()
    engine = Engine(default_root_dir=root / "out", logger=False, enable_progress_bar=False, max_epochs=1)
    engine.fit(model, train_dataloaders=datamodule.train_dataloader())
    assert "scales and thresholds come from the training images themselves" in caplog.text
    assert len(model.calibration.held_out) == COUNT
    assert scales(model) == pytest.approx(expected_scale(model), rel=1e-5)


def test_a_second_fit_calibrates_again(root: Path) -> None:
    datamodule = data(root)
    model, _ = fit(root, datamodule, max_epochs=1)
    model.model.score.calibrate(dict.fromkeys(WEIGHTS, torch.tensor(9.0)))
    Engine(default_root_dir=root / "again", logger=False, enable_progress_bar=False, max_epochs=1).fit(
        model, datamodule=datamodule
    )
    assert scales(model) == pytest.approx(expected_scale(model), rel=1e-5)
    assert len(datamodule.train_data) == COUNT
