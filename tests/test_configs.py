"""Every data configuration trains, tests and predicts through anomalib's command line, with a model of no weight."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from anomalib import LearningType
from anomalib.cli import AnomalibCLI
from anomalib.data import InferenceBatch
from anomalib.models import AnomalibModule
from PIL import Image
from torch import Tensor, nn

from anomalib_stc.data import TextureDemo
from anomalib_stc.data.demo_set import Recipe, write_demo_set

CONFIGS = Path(__file__).parents[1] / "configs" / "data"


class DistanceToGrey(nn.Module):
    """Anomaly map (B, 1, H, W): distance of every pixel from middle grey."""

    def forward(self, image: Tensor) -> InferenceBatch:
        anomaly_map = (image - 0.5).abs().mean(dim=1, keepdim=True)
        return InferenceBatch(anomaly_map=anomaly_map, pred_score=anomaly_map.amax(dim=(1, 2, 3)))


class GreyModel(AnomalibModule):
    """A model that has nothing to learn."""

    def __init__(self) -> None:
        super().__init__(visualizer=False)
        self.model = DistanceToGrey()

    def training_step(self, batch: Any, batch_idx: int) -> None:
        return None

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return batch.update(**self.model(batch.image)._asdict())

    def configure_optimizers(self) -> None:
        return None

    @property
    def learning_type(self) -> LearningType:
        return LearningType.ONE_CLASS

    @property
    def trainer_arguments(self) -> dict[str, Any]:
        return {"max_epochs": 1, "num_sanity_val_steps": 0}


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    """Twenty grey images, of which `defect` holds eight with a white square, and their masks."""
    normal = np.full((40, 52, 3), 120, dtype=np.uint8)
    mask = np.zeros((40, 52), dtype=np.uint8)
    mask[8:16, 8:16] = 255
    defect = np.maximum(normal, mask[..., None])
    for name, image, count in (("good", normal, 20), ("defect", defect, 8), ("mask", mask, 8)):
        (tmp_path / name).mkdir()
        for index in range(count):
            shade = image if name == "mask" else image - np.uint8(index)
            Image.fromarray(shade).save(tmp_path / name / f"{index}.png")
    return tmp_path


def run(config: str, output: Path, *arguments: str) -> AnomalibCLI:
    """Train and test as a user types it; returns the command line object, which holds engine, model and data."""
    model = f"{GreyModel.__module__}.GreyModel"
    quiet = ["--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu", "--data.num_workers", "0"]
    place = ["--default_root_dir", str(output)]
    return AnomalibCLI(args=["train", "--model", model, "--data", str(CONFIGS / config), *arguments, *quiet, *place])


def metrics(cli: AnomalibCLI) -> dict[str, float]:
    return {name: float(value) for name, value in cli.engine.trainer.callback_metrics.items()}


def labels(cli: AnomalibCLI, part: str) -> list[int]:
    return sorted(getattr(cli.datamodule, part).samples.label_index)


def test_texture_demo(demo_root: Path, tmp_path: Path) -> None:
    cli = run("texture_demo.yaml", tmp_path, "--data.root", str(demo_root), "--data.category", "gravel")
    assert isinstance(cli.datamodule, TextureDemo)
    assert labels(cli, "val_data") == [0] * 20
    assert {"image_AUROC", "pixel_AUROC"} <= metrics(cli).keys()


def test_mvtec(demo_root: Path, tmp_path: Path) -> None:
    folder = write_demo_set(demo_root, Recipe("gravel", 64, 0))
    cli = run("mvtec.yaml", tmp_path, "--data.root", str(folder.parent), "--data.category", folder.name)
    assert labels(cli, "train_data") == [0] * 48
    assert labels(cli, "val_data") == [0] * 12
    assert labels(cli, "test_data") == [0] * 30 + [1] * 30


def test_folder(own_folder: Path, tmp_path: Path) -> None:
    cli = run("folder.yaml", tmp_path / "results", "--data.root", str(own_folder))
    assert labels(cli, "train_data") == [0] * 16
    assert labels(cli, "val_data") == labels(cli, "test_data") == [0] * 2 + [1] * 4
    assert metrics(cli)["image_AUROC"] == 1
    assert metrics(cli)["pixel_AUROC"] > 0.99  # resizing blurs the edge of the mask


def test_folder_normals_only(own_folder: Path, tmp_path: Path) -> None:
    cli = run("folder_normals_only.yaml", tmp_path / "results", "--data.root", str(own_folder))
    parts = {name: labels(cli, name) for name in ("train_data", "val_data", "test_data")}
    assert parts == {"train_data": [0] * 13, "val_data": [0] * 3, "test_data": [0] * 4}
    assert not torch.isnan(cli.model.post_processor.image_threshold)
    assert sum(len(batch) for batch in cli.engine.predict(model=cli.model, datamodule=cli.datamodule)) == 4


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_number_and_mode_has_its_reason(config: Path) -> None:
    for line in config.read_text().splitlines():
        value = line.partition("#")[0].partition(":")[2].strip()
        if line.startswith("  ") and not isinstance(yaml.safe_load(value or "null"), str):
            assert " # " in line, f"{config.name}: no reason for {line.strip()!r}"


def test_texture_demo_config_holds_the_defaults_of_the_code() -> None:
    arguments = yaml.safe_load((CONFIGS / "texture_demo.yaml").read_text())["init_args"]
    by_config, by_code = TextureDemo(**arguments), TextureDemo()
    for name in ("root", "recipe", "train_batch_size", "eval_batch_size", "num_workers", "val_split_mode"):
        assert getattr(by_config, name) == getattr(by_code, name)
