"""What every model promises of its training; a model's tests inherit this class and name the model."""

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from anomalib.cli import AnomalibCLI
from anomalib.engine import Engine
from anomalib.models import AnomalibModule
from lightning.pytorch import seed_everything

from anomalib_stc.data import TextureDemo
from anomalib_stc.parts.bank import DEPTHS
from tests.models.contract import QUIET

TWO_PROCESSES = """
import json
import sys
import torch
from anomalib.engine import Engine
from anomalib.models import get_model
from anomalib_stc.data import TextureDemo

torch.set_num_threads(1)
if __name__ == "__main__":
    name, arguments, root, out = sys.argv[1:]
    data = TextureDemo(root=root, crop_size=70, train_batch_size=4)
    model = get_model(name, **json.loads(arguments))
    engine = Engine(default_root_dir=out, accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, logger=False,
                    enable_progress_bar=False)
    engine.fit(model, datamodule=data)
    torch.save(model.state_dict(), f"{out}/rank{engine.trainer.global_rank}.pt")
    print("steps", engine.trainer.global_step)
"""


def command(*arguments: str, cwd: Path) -> str:
    """Run anomalib's own command line in this process, which has imported it already; return what it printed."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed), contextlib.chdir(cwd):
        patch.setenv("COLUMNS", "200")
        AnomalibCLI(args=list(arguments))
    return printed.getvalue()


class TrainingContract:
    """The tests; `model` is the class, `small` makes one quick, `able` one that can learn a texture."""

    model: type[AnomalibModule]
    small: dict[str, Any]
    able: dict[str, Any]
    epochs = 4

    def test_it_finds_a_planted_defect(self, demo_root: Path, tmp_path: Path) -> None:
        """Half a minute on a real texture localises defects far better than chance, by what was trained alone too.

        The data module gets its held-out images back.
        """
        seed_everything(0, verbose=False)
        data = TextureDemo(root=demo_root)
        engine = Engine(default_root_dir=tmp_path, max_epochs=self.epochs, check_val_every_n_epoch=self.epochs, **QUIET)
        model: Any = self.model(**self.able, visualizer=False)
        seen: list[int] = []
        model.on_train_epoch_start = lambda: seen.append(len(data.train_data))
        engine.fit(model, datamodule=data)
        assert seen == [54] * self.epochs
        assert len(data.train_data) == 60
        trained = self.model(**self.able, score_weights=dict.fromkeys(DEPTHS, 0.0), visualizer=False)
        trained.load_state_dict(model.state_dict())
        for one, pixel, image in ((model, 0.95, 0.9), (trained, 0.85, 0.8)):
            metrics = engine.test(one, datamodule=data, verbose=False)[0]
            assert metrics["pixel_AUROC"] > pixel
            assert metrics["image_AUROC"] > image

    def test_two_processes_train_the_same_weights(self, demo_root: Path, tmp_path: Path) -> None:
        TextureDemo(root=demo_root, crop_size=70).prepare_data()
        program = tmp_path / "program.py"
        program.write_text(TWO_PROCESSES)
        named = [self.model.__name__, json.dumps(self.small)]
        done = subprocess.run(
            [sys.executable, program, *named, demo_root, tmp_path],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
        for name, value in first.items():
            torch.testing.assert_close(value, second[name], rtol=1e-5, atol=1e-6, equal_nan=True, msg=name)
            unset = "threshold" in name or name.endswith("bank.scores")
            assert unset or value.isfinite().all(), f"{name}: nothing but a validation's may be unset"
        assert first["model.bank.scores"].isfinite().sum() == 60, "of every image, held out or not"
        assert "steps 7" in done.stdout  # 54 images over two processes of batch 4

    def test_without_a_data_module_it_calibrates_on_the_training_images(
        self, demo_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        data = TextureDemo(root=demo_root, crop_size=70)
        data.setup()
        model: Any = self.model(**self.small)
        data.train_data.augmentations = model.pre_processor.transform
        engine = Engine(default_root_dir=tmp_path, max_epochs=1, **QUIET)
        engine.fit(model, train_dataloaders=data.train_dataloader())
        assert "scales and thresholds come from the training images themselves" in caplog.text
        assert model.model.score.calibrated
