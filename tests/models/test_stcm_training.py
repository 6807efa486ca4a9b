"""STCM trained for real: by the command line, in two processes, with a user's network, on a texture with a defect."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from anomalib.data import MVTecAD
from anomalib.engine import Engine
from lightning.pytorch import seed_everything

from anomalib_stc.data import TextureDemo
from anomalib_stc.models import Stcm
from tests.models.contract import QUIET, images
from tests.models.test_stcm import SMALL

TWO_PROCESSES = """
import sys
import torch
from anomalib.engine import Engine
from anomalib_stc.data import TextureDemo
from anomalib_stc.models import Stcm

torch.set_num_threads(1)
if __name__ == "__main__":
    data = TextureDemo(root=sys.argv[1], crop_size=70, train_batch_size=4)
    model = Stcm(image_size=64, parts=8, memory_items=32, key_channels=16, widths=(16, 8))
    engine = Engine(default_root_dir=sys.argv[2], accelerator="cpu", devices=2, strategy="ddp", max_epochs=1,
                    logger=False, enable_progress_bar=False)
    engine.fit(model, datamodule=data)
    state = {name: value for name, value in model.state_dict().items() if "running" not in name}
    torch.save(state, f"{sys.argv[2]}/rank{engine.trainer.global_rank}.pt")
    print("steps", engine.trainer.global_step)
"""


def command(*arguments: str, cwd: Path) -> str:
    """Run anomalib's own command line, and return what it printed."""
    program = "from anomalib.cli.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def test_it_finds_a_planted_defect(demo_root: Path, tmp_path: Path) -> None:
    """Half a minute on a real texture localises defects far better than chance, and better than it began."""
    seed_everything(0, verbose=False)
    data = TextureDemo(root=demo_root)
    engine = Engine(default_root_dir=tmp_path, max_epochs=4, check_val_every_n_epoch=4, **QUIET)
    model = Stcm(image_size=96, parts=32, memory_items=100)
    engine.fit(model, datamodule=data)
    metrics = engine.test(model, datamodule=data, verbose=False)[0]
    assert metrics["pixel_AUROC"] > 0.85
    assert metrics["image_AUROC"] > 0.8


def test_two_processes_train_the_same_weights(demo_root: Path, tmp_path: Path) -> None:
    TextureDemo(root=demo_root, crop_size=70).prepare_data()
    program = tmp_path / "program.py"
    program.write_text(TWO_PROCESSES)
    done = subprocess.run(
        [sys.executable, program, demo_root, tmp_path], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-5, atol=1e-6, equal_nan=True, msg=name)
    assert "steps 7" in done.stdout  # 54 images over two processes of batch 4


def test_without_a_data_module_it_calibrates_on_the_training_images(
    demo_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = TextureDemo(root=demo_root, crop_size=70)
    data.setup()
    model = Stcm(**SMALL)
    data.train_data.augmentations = model.pre_processor.transform
    engine = Engine(default_root_dir=tmp_path, max_epochs=1, **QUIET)
    engine.fit(model, train_dataloaders=data.train_dataloader())
    assert "scales and thresholds come from the training images themselves" in caplog.text
    assert not torch.equal(model.model.score.scale, torch.ones_like(model.model.score.scale))


def test_the_data_module_gets_its_held_out_images_back(demo_root: Path, tmp_path: Path) -> None:
    data = TextureDemo(root=demo_root, crop_size=70)
    model = Stcm(**SMALL)
    seen: list[int] = []
    model.on_train_epoch_start = lambda: seen.append(len(data.train_data))
    Engine(default_root_dir=tmp_path, max_epochs=1, **QUIET).fit(model, datamodule=data)
    assert seen == [54]
    assert len(data.train_data) == 60


def test_a_users_vessel_network_is_the_semantic_structure(data_root: Any, tmp_path: Path) -> None:
    root = data_root("idrid-small")
    weights = root.parent / "weights" / "wnet-drive" / "model.safetensors"
    if not weights.is_file():
        pytest.skip(f"needs the vessel network {weights}, which is not there")
    network = {"semantic": "tests.models.wnet.WNet", "semantic_args": {"weights": str(weights)}}
    model = Stcm(**{**SMALL, "image_size": 128, **network})
    data = MVTecAD(root=root, category="idrid-small", train_batch_size=4, eval_batch_size=4, num_workers=0)
    Engine(default_root_dir=tmp_path, max_epochs=1, limit_train_batches=2, limit_val_batches=1, **QUIET).fit(
        model, datamodule=data
    )
    image = images((128, 128), 1)
    with torch.no_grad():
        vessels = model.eval().model.infer(image).structures["semantic"]
    assert vessels.shape == (1, 1, 128, 128)
    assert 0 <= vessels.min() <= vessels.max() <= 1
