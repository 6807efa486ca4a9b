"""What may be changed after a training is changed in one way, which fits scales and thresholds again."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from anomalib.engine import Engine

from anomalib_stc.data import TextureDemo
from anomalib_stc.models import ProxyAno
from anomalib_stc.rescore import rescore
from tests.models.contract import QUIET, images

SMALL = {"image_size": 64, "superpixels": 20, "memory_items": 16}


@pytest.fixture(scope="module")
def trained(demo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ProxyAno, Path]:
    model = ProxyAno(**SMALL)
    engine = Engine(default_root_dir=tmp_path_factory.mktemp("rescore"), max_epochs=1, **QUIET)
    engine.fit(model, datamodule=data(demo_root))
    return model, Path(engine.trainer.checkpoint_callback.best_model_path)


def data(root: Path) -> TextureDemo:
    return TextureDemo(root=root, crop_size=70)


def test_scores_and_thresholds_are_those_of_the_new_rules(
    trained: tuple[ProxyAno, Path], demo_root: Path, tmp_path: Path
) -> None:
    model, path = trained
    whole = data(demo_root)
    new = rescore(
        str(path), whole, str(tmp_path / "new" / "model.ckpt"), score_weights={"proxy": 1.0}, image_score="mean"
    )
    assert len(whole.train_data) == 60
    changed: Any = ProxyAno.load_from_checkpoint(new, weights_only=True)
    assert changed.model.score.weights == {"pixel": 0.5, "correspondence": 4.0, "proxy": 1.0}
    assert changed.model.score.reduction == "mean"
    for name in ("keys", "values"):
        assert torch.equal(getattr(changed.model.extraction.memory, name), getattr(model.model.extraction.memory, name))
    old, fitted = (one.post_processor.normal_image_threshold for one in (model, changed))
    assert fitted.isfinite()
    assert fitted != old
    assert changed.eval()(images((64, 64), 2)).pred_score.isfinite().all()


def test_its_result_answers_by_its_own_rules_only(
    trained: tuple[ProxyAno, Path], demo_root: Path, tmp_path: Path
) -> None:
    new = rescore(str(trained[1]), data(demo_root), str(tmp_path / "model.ckpt"), image_score="mean")
    with pytest.raises(ValueError, match="ProxyAno has image_score 'max', but the checkpoint was trained with 'mean'"):
        ProxyAno.load_from_checkpoint(new, weights_only=True, image_score="max")


def test_the_same_rules_give_the_same_scales(trained: tuple[ProxyAno, Path], demo_root: Path, tmp_path: Path) -> None:
    """So the images held out are the same ones."""
    model, path = trained
    new = rescore(str(path), data(demo_root), str(tmp_path / "model.ckpt"), smoothing=4.0)
    expected = model.state_dict()
    for name, value in torch.load(new, weights_only=True)["state_dict"].items():
        torch.testing.assert_close(value, expected[name], equal_nan=True, msg=name)


def test_other_data_than_the_trainings_are_refused(
    trained: tuple[ProxyAno, Path], few_root: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"^These data hold out other images than the training of .*: give the data"):
        rescore(str(trained[1]), data(few_root), str(tmp_path / "model.ckpt"), image_score="mean")
    assert not (tmp_path / "model.ckpt").exists()


def test_a_training_goes_on_from_it(trained: tuple[ProxyAno, Path], demo_root: Path, tmp_path: Path) -> None:
    new = rescore(str(trained[1]), data(demo_root), str(tmp_path / "model.ckpt"), image_score="max")
    engine = Engine(default_root_dir=tmp_path, max_epochs=2, limit_val_batches=0, **QUIET)
    engine.fit(ProxyAno(), datamodule=data(demo_root), ckpt_path=new)
    assert engine.trainer.global_step == 2 * 7
    assert engine.model.model.score.reduction == "max"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, r"^Nothing is to be changed: give score_weights"),
        ({"image_score": "highest"}, r"^Image score is 'highest', expected one of max, top, mean"),
        ({"score_weights": {"colour": 1.0}}, r"^Score weights has colour, expected some of pixel"),
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
