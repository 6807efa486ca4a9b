"""What may be changed after a training is changed in one way, which fits scales and thresholds again."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from anomalib.engine import Engine
from lightning.pytorch import seed_everything

from anomalib_stc.data import TextureDemo
from anomalib_stc.host.holdout import names_of
from anomalib_stc.models import ProxyAno
from anomalib_stc.parts.bank import BANK_WEIGHTS
from anomalib_stc.rescore import rescore
from tests.models.contract import QUIET, images

SMALL: dict[str, Any] = {"image_size": 64, "superpixels": 20, "memory_items": 16}
OTHER: dict[str, Any] = {
    "score_weights": {"proxy": 1.0, "bank_deep": 3.0},
    "image_score": "mean",
    "smoothing": 4.0,
    "false_alarm_rate": 0.2,
}


def data(root: Path) -> TextureDemo:
    return TextureDemo(root=root, crop_size=70)


def train(root: Path, out: Path, **arguments: Any) -> tuple[ProxyAno, Path]:
    """Return a model trained with one seed, and its checkpoint."""
    seed_everything(0, verbose=False)
    model = ProxyAno(**SMALL, **arguments)
    engine = Engine(default_root_dir=out, max_epochs=1, **QUIET)
    engine.fit(model, datamodule=data(root))
    return model, Path(engine.trainer.checkpoint_callback.best_model_path)


@pytest.fixture(scope="module")
def trained(demo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ProxyAno, Path]:
    return train(demo_root, tmp_path_factory.mktemp("rescore"))


@pytest.fixture(scope="module")
def changed(trained: tuple[ProxyAno, Path], demo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoint of other rules."""
    whole = data(demo_root)
    path = rescore(str(trained[1]), whole, str(tmp_path_factory.mktemp("changed") / "new" / "model.ckpt"), **OTHER)
    assert len(whole.train_data) == 60
    return path


def assert_same(path: Path, model: ProxyAno) -> None:
    expected = model.state_dict()
    for name, value in torch.load(path, weights_only=True)["state_dict"].items():
        torch.testing.assert_close(value, expected[name], equal_nan=True, msg=name)


def test_scores_are_those_of_the_new_rules(trained: tuple[ProxyAno, Path], changed: Path) -> None:
    model, _ = trained
    new: Any = ProxyAno.load_from_checkpoint(changed, weights_only=True)
    assert new.model.score.weights == {**BANK_WEIGHTS, "bank_deep": 3.0, "proxy": 1.0}
    assert new.model.score.reduction == "mean"
    for name in ("keys", "values"):
        assert torch.equal(getattr(new.model.extraction.memory, name), getattr(model.model.extraction.memory, name))
    assert len(new.model.known_scores) == 60
    assert not torch.equal(new.model.known_scores, model.model.known_scores)
    assert new.eval()(images((64, 64), 2)).pred_score.isfinite().all()


def test_curves_and_thresholds_are_those_of_a_training_by_the_new_rules(
    changed: Path, demo_root: Path, tmp_path: Path
) -> None:
    """With the same seed: nothing that is learnt depends on them."""
    assert_same(changed, train(demo_root, tmp_path, **OTHER)[0])


def test_its_result_answers_by_its_own_rules_only(changed: Path) -> None:
    with pytest.raises(ValueError, match="ProxyAno has image_score 'max', but the checkpoint was trained with 'mean'"):
        ProxyAno.load_from_checkpoint(changed, weights_only=True, image_score="max")


def test_the_same_rules_give_the_same_scales(trained: tuple[ProxyAno, Path], demo_root: Path, tmp_path: Path) -> None:
    """So the images held out are the same ones."""
    model, path = trained
    new = rescore(str(path), data(demo_root), str(tmp_path / "model.ckpt"), smoothing=2.0)
    assert_same(new, model)


class Fewer(TextureDemo):
    """Lacks one of the images that were trained on."""

    held_out: set[str]

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        if len(names := names_of(self.train_data)) == 60:
            missing = next(number for number, name in enumerate(names) if name not in self.held_out)
            self.train_data = self.train_data.subsample([number for number in range(60) if number != missing])


def test_other_data_than_the_trainings_are_refused(
    trained: tuple[ProxyAno, Path], demo_root: Path, few_root: Path, tmp_path: Path
) -> None:
    """Also where the same images are held out of others: the bank would not find its own."""
    fewer = Fewer(root=demo_root, crop_size=70)
    fewer.held_out = set(names_of(trained[0].calibration.normals.held_out))
    for other in (data(few_root), fewer):
        with pytest.raises(ValueError, match=r"^These data are other images than those of the training of .*: give "):
            rescore(str(trained[1]), other, str(tmp_path / "model.ckpt"), image_score="mean")
    assert not (tmp_path / "model.ckpt").exists()


def test_a_training_goes_on_from_it(changed: Path, demo_root: Path, tmp_path: Path) -> None:
    engine = Engine(default_root_dir=tmp_path, max_epochs=2, limit_val_batches=0, **QUIET)
    engine.fit(ProxyAno(), datamodule=data(demo_root), ckpt_path=changed)
    assert engine.trainer.global_step == 2 * 7
    assert engine.model.model.score.reduction == "mean"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, r"^Nothing is to be changed: give score_weights"),
        ({"image_score": "highest"}, r"^Image score is 'highest', expected one of top, max, mean"),
        ({"score_weights": {"colour": 1.0}}, r"^Score weights has colour, expected some of bank_pixel"),
        ({"ckpt_path": "nowhere.ckpt"}, r"^Checkpoint 'nowhere.ckpt' cannot be read"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    trained: tuple[ProxyAno, Path], demo_root: Path, tmp_path: Path, arguments: dict[str, Any], sentence: str
) -> None:
    output = tmp_path / "model.ckpt"
    with pytest.raises(ValueError, match=sentence):
        rescore(**{"ckpt_path": str(trained[1]), "data": data(demo_root), "output": str(output), **arguments})
    assert not output.exists()


def test_by_the_command_line(trained: tuple[ProxyAno, Path], demo_root: Path, tmp_path: Path) -> None:
    arguments = ["--ckpt_path", trained[1], "--output", "new.ckpt", "--image_score", "mean"]
    named = ["--data", "anomalib_stc.data.TextureDemo", "--data.root", demo_root, "--data.crop_size", "70"]
    done = subprocess.run(
        [sys.executable, "-m", "anomalib_stc.rescore", *map(str, [*arguments, *named])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "new.ckpt").exists()


def test_a_training_that_goes_on_with_other_images_tells_its_bank_of_them(
    trained: tuple[ProxyAno, Path], few_root: Path, tmp_path: Path
) -> None:
    """Thresholds come from what a bank says of this run's images, by their number."""
    model = ProxyAno(**SMALL)
    engine = Engine(default_root_dir=tmp_path, max_epochs=2, **QUIET)
    engine.fit(model, datamodule=data(few_root), ckpt_path=trained[1])
    bank: Any = model.model.bank
    assert (len(trained[0].model.bank.known_scores), len(bank.known_scores)) == (60, 12)
