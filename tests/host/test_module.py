"""What the base of all models does around a step: chunks of a batch, other schedules, averaged weights, checkpoints."""

from pathlib import Path
from typing import Any

import pytest
import torch
from anomalib.data import ImageBatch
from anomalib.engine import Engine
from lightning.pytorch.callbacks import EMAWeightAveraging, GradientAccumulationScheduler

from anomalib_stc.data import TextureDemo
from anomalib_stc.models import ProxyAno
from tests.models.contract import QUIET, images

SIDE = 64


class Counted(ProxyAno):
    """Notes the images of every step."""

    def __init__(self, score_weights: dict[str, float] | None = None, **arguments: Any) -> None:
        small = {"image_size": SIDE, "superpixels": 20, "memory_items": 16, **arguments}
        super().__init__(**small, **({"score_weights": score_weights} if score_weights else {}))
        self.seen: list[int] = []
        self.loss.register_forward_pre_hook(lambda _, given: self.seen.append(len(given[0])))


def fit(root: Path, out: Path, batch: int, **trainer: Any) -> tuple[Counted, Engine]:
    model = Counted()
    engine = Engine(default_root_dir=out, limit_val_batches=0, **{"max_epochs": 1, **QUIET, **trainer})
    engine.fit(model, datamodule=TextureDemo(root=root, crop_size=70, train_batch_size=batch))
    return model, engine


@pytest.mark.parametrize(
    ("batch", "trainer", "seen"),
    [
        (8, {}, [8, 8, 8, 8, 8, 8, 6]),
        (32, {}, [8, 8, 8, 8, 7, 7, 8]),
        (20, {"accumulate_grad_batches": 2, "max_epochs": 2}, [20, 20, 14] * 2),
        (
            20,
            {"callbacks": [GradientAccumulationScheduler({0: 1, 1: 2})], "max_epochs": 2},
            [10, 10, 10, 10, 7, 7, 20, 20, 14],
        ),
    ],
)
def test_every_image_is_seen_once_an_epoch(
    demo_root: Path, tmp_path: Path, batch: int, trainer: dict[str, Any], seen: list[int]
) -> None:
    model, _ = fit(demo_root, tmp_path, batch, **trainer)
    assert model.seen == seen
    model.log = model.log_dict = lambda *args, **kwargs: None
    model.training_step(ImageBatch(image=images((SIDE, SIDE), 20)), 0)
    assert model.seen[-1] == 20, "a step outside of a fit looks at all"


def test_averaged_weights_are_calibrated(demo_root: Path, tmp_path: Path) -> None:
    model, _ = fit(demo_root, tmp_path, 8, callbacks=[EMAWeightAveraging(decay=0.5)])
    assert model.model.score.calibrated


def test_a_user_may_bring_another_optimiser(demo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counted, "configure_optimizers", lambda model: torch.optim.SGD(model.parameters(), lr=1e-3))
    assert fit(demo_root, tmp_path, 32, max_steps=1)[0].seen == [8, 8, 8, 8]


@pytest.mark.parametrize("arguments", [{"image_score": "mean"}, {"score_weights": {"pixel": 0.0}}, {"smoothing": 2.0}])
def test_a_checkpoint_does_not_answer_by_other_rules(
    demo_root: Path, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    small = {"image_size": SIDE, "superpixels": 20, "memory_items": 16}
    model = ProxyAno(**small)
    engine = Engine(default_root_dir=tmp_path, max_steps=1, limit_val_batches=0, **QUIET)
    engine.fit(model, datamodule=TextureDemo(root=demo_root, crop_size=70))
    path = engine.trainer.checkpoint_callback.best_model_path
    sentence = rf"^ProxyAno has {next(iter(arguments))} .*, but the checkpoint was trained with .*: give the same"
    with pytest.raises(ValueError, match=sentence):
        ProxyAno.load_from_checkpoint(path, weights_only=True, **arguments)
    other = Engine(default_root_dir=tmp_path, **QUIET)
    with pytest.raises(ValueError, match=sentence):
        other.predict(ProxyAno(**small, **arguments), datamodule=TextureDemo(root=demo_root), ckpt_path=path)
    same = {"score_weights": {"pixel": 0.5}, "learning_rate": 1e-4}
    assert ProxyAno.load_from_checkpoint(path, weights_only=True, **same).model.score.calibrated
