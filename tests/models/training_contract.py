"""What every model promises of its training; a model's tests inherit this class and name the model."""

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest
from anomalib.cli import AnomalibCLI
from anomalib.engine import Engine
from anomalib.models import AnomalibModule
from lightning.pytorch import seed_everything

from anomalib_stc.data import TextureDemo
from anomalib_stc.parts.bank import TERMS
from tests.models.contract import QUIET


def command(*arguments: str, cwd: Path) -> str:
    """Run anomalib's own command line in this process, which has imported it already; return what it printed."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed), contextlib.chdir(cwd):
        patch.setenv("COLUMNS", "200")
        AnomalibCLI(args=list(arguments))
    return printed.getvalue()


class TrainingContract:
    """The tests; `model` is the class, `small` makes one quick, `able` one that can learn a texture.

    `own` are weights of what is trained.
    """

    model: type[AnomalibModule]
    small: dict[str, Any]
    able: dict[str, Any]
    own: dict[str, float]
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
        trained = self.model(**self.able, score_weights={**dict.fromkeys(TERMS, 0.0), **self.own}, visualizer=False)
        trained.load_state_dict(model.state_dict())
        for one, pixel, image in ((model, 0.95, 0.9), (trained, 0.85, 0.8)):
            metrics = engine.test(one, datamodule=data, verbose=False)[0]
            assert metrics["pixel_AUROC"] > pixel
            assert metrics["image_AUROC"] > image

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
