"""What the base of all models does around a step: chunks of a batch, other schedules, averaged weights, checkpoints."""

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from anomalib.callbacks import ModelCheckpoint
from anomalib.data import ImageBatch
from anomalib.engine import Engine
from anomalib.post_processing import PostProcessor
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    LearningRateFinder,
    StochasticWeightAveraging,
)
from torch.utils.data import DataLoader

from anomalib_stc.data import TextureDemo
from anomalib_stc.host.calibration import HoldoutCalibration
from anomalib_stc.host.holdout import names_of
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
    engine = Engine(default_root_dir=out, **{"max_epochs": 1, "limit_val_batches": 0, **QUIET, **trainer})
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


AVERAGES = {
    "exponential": lambda: EMAWeightAveraging(decay=0.9),
    "late": lambda: EMAWeightAveraging(decay=0.9, update_starting_at_step=4),  # in the second epoch
    "stochastic": lambda: StochasticWeightAveraging(swa_lrs=1e-3, swa_epoch_start=1),
}


@pytest.mark.parametrize(("average", "validation"), [("exponential", 0), ("late", 1.0), ("stochastic", 1.0)])
def test_averaged_weights_have_their_own_scales(
    few_root: Path, tmp_path: Path, average: str, validation: float
) -> None:
    """In the model and in every checkpoint: what belongs to other weights, or is an average of NaN, is not kept.

    What a bank knows is that of the beginning; its seed is a number that single precision does not hold.
    """
    seed_everything(1234567891, verbose=False)
    keep = ModelCheckpoint(tmp_path / "kept", filename="{step}", save_top_k=-1)
    banks: list[dict[str, torch.Tensor]] = []
    trainer = {"callbacks": [AVERAGES[average](), keep, Bank(banks)], "limit_val_batches": validation}
    model, _ = fit(few_root, tmp_path, 4, max_epochs=3, **trainer)
    paths = sorted((tmp_path / "kept").glob("*.ckpt"))
    assert paths
    for one in (model, *(Counted.load_from_checkpoint(path, weights_only=True) for path in paths)):
        assert_own_scales(one, model)
        assert one.model.bank.seed == 1234567891
        torch.testing.assert_close(dict(one.model.bank.state_dict()), banks[0], rtol=0, atol=0, equal_nan=True)


class Bank(Callback):
    """Notes what the bank knows before the first step."""

    def __init__(self, banks: list[dict[str, torch.Tensor]]) -> None:
        self.banks = banks

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.banks.append({name: value.clone() for name, value in pl_module.model.bank.state_dict().items()})


def assert_own_scales(model: Any, fitted: Any) -> None:
    """Assert that a model has the scales and thresholds that its weights get from the images another held out."""
    before = {
        name: value.clone() for name, value in model.state_dict().items() if "scale_" in name or "normal_" in name
    }
    assert all(value.isfinite().all() for value in before.values())
    again = HoldoutCalibration(0.1, 0.05)
    again.__dict__.update({**fitted.calibration.__dict__, "_fitted": None, "_validated": (None, {}, {})})
    model._trainer = None
    again._fit(model.eval())
    for name, value in before.items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=1e-4, atol=1e-6, msg=name)


def test_a_checkpoint_within_an_epoch_has_its_own_scales(few_root: Path, tmp_path: Path) -> None:
    keep = ModelCheckpoint(tmp_path / "kept", filename="{step}", save_top_k=-1, every_n_train_steps=2)
    model, _ = fit(few_root, tmp_path, 4, callbacks=[keep], max_epochs=4, limit_val_batches=1.0)
    paths = sorted((tmp_path / "kept").glob("*.ckpt"))
    assert len(paths) >= 4
    for path in paths:
        assert_own_scales(Counted.load_from_checkpoint(path, weights_only=True), model)


class Break(Callback):
    """Ends a training in one of its epochs, as a user or a fault does."""

    def __init__(self, error: type[BaseException], epoch: int = 1) -> None:
        self.error = error
        self.epoch = epoch

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.current_epoch == self.epoch:
            raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_nothing_stays_of_an_interrupted_fit(few_root: Path, tmp_path: Path, error: type[BaseException]) -> None:
    module = TextureDemo(root=few_root, crop_size=70, train_batch_size=4)
    model = Counted()
    settings = {"default_root_dir": tmp_path, "max_epochs": 3, "limit_val_batches": 0, **QUIET}
    with pytest.raises((error, SystemExit)):
        Engine(callbacks=[Break(error)], **settings).fit(model, datamodule=module)
    assert len(module.train_data) == 12
    with pytest.raises(ValueError, match="is not trained"):
        Engine(**settings).test(model, datamodule=module)
    loader = DataLoader(module.train_data, batch_size=6, collate_fn=module.train_data.collate_fn)
    Engine(**settings).fit(model, train_dataloaders=loader)
    assert len(model.calibration.normals.held_out) == 12


@pytest.mark.parametrize("own", [{}, {"post_processor": PostProcessor()}], ids=["ours", "anomalib's"])
def test_no_scores_stay_of_a_fit_that_broke_in_its_beginning(
    few_root: Path, tmp_path: Path, own: dict[str, Any]
) -> None:
    """The second training of a model has changed its bank and its memory before its first step."""
    model = Counted(**own)
    settings = {"default_root_dir": tmp_path, "max_epochs": 2, "limit_val_batches": 0, **QUIET}
    Engine(**settings).fit(model, datamodule=TextureDemo(root=few_root, crop_size=70))
    grass = TextureDemo(root=tmp_path, category="grass", crop_size=70)
    with pytest.raises(RuntimeError):
        Engine(callbacks=[Break(RuntimeError, epoch=0)], **settings).fit(model, datamodule=grass)
    with pytest.raises(ValueError, match="is not trained: it has no scale for bank_pixel"):
        model.eval()(images((SIDE, SIDE), 1))


def test_weights_of_the_network_alone_give_no_scores(few_root: Path, tmp_path: Path) -> None:
    model, _ = fit(few_root, tmp_path, 4)
    other = Counted()
    other.model.load_state_dict(model.model.state_dict())
    with pytest.raises(ValueError, match="is not trained: it has no threshold"):
        other.eval()(images((SIDE, SIDE), 1))


def test_a_training_goes_on_with_the_split_of_its_checkpoint(few_root: Path, tmp_path: Path) -> None:
    module = TextureDemo(root=few_root, crop_size=70, train_batch_size=4)
    first = Counted(holdout=0.5)
    engine = Engine(default_root_dir=tmp_path, max_epochs=1, limit_val_batches=0, **QUIET)
    engine.fit(first, datamodule=module)
    path = engine.trainer.checkpoint_callback.best_model_path
    held = names_of(first.calibration.normals.held_out)
    for length in ({"max_epochs": 2}, {}):
        model = Counted(train_images=16)
        engine = Engine(default_root_dir=tmp_path, limit_val_batches=0, **length, **QUIET)
        engine.fit(model, datamodule=module, ckpt_path=path)
        assert names_of(model.calibration.normals.held_out) == held
        assert engine.trainer.num_training_batches == 2
        assert engine.trainer.current_epoch > 1
        assert len(module.train_data) == 12


def test_a_training_that_is_over_saves_what_it_was_given(few_root: Path, tmp_path: Path) -> None:
    """A script that always resumes, started once more: nothing is trained, and no image of it is looked at."""
    first, engine = fit(few_root, tmp_path, 4)
    first.post_processor.image_threshold.fill_(0.25)  # as a validation with defects would
    engine.trainer.save_checkpoint(tmp_path / "model.ckpt")
    data = TextureDemo(root=tmp_path, category="grass", crop_size=70)
    again = Counted()
    rest = Engine(default_root_dir=tmp_path, max_epochs=1, limit_val_batches=0, **QUIET)
    rest.fit(again, datamodule=data, ckpt_path=tmp_path / "model.ckpt")
    rest.trainer.save_checkpoint(tmp_path / "again.ckpt")
    assert again.seen == []
    before, after = (torch.load(tmp_path / name, weights_only=True) for name in ("model.ckpt", "again.ckpt"))
    for name, value in before["state_dict"].items():
        assert torch.equal(value.nan_to_num(), after["state_dict"][name].nan_to_num()), name


@pytest.mark.parametrize(
    "finder", [LearningRateFinder(num_training_steps=4), BatchSizeFinder(batch_arg_name="train_batch_size", max_val=4)]
)
def test_what_tries_before_a_training_changes_no_memory(few_root: Path, tmp_path: Path, finder: Callback) -> None:
    """It saves the untrained model, tries, and loads it again."""
    model, _ = fit(few_root, tmp_path, 4, callbacks=[finder])
    assert_own_scales(model, model)


def test_scores_of_a_model_that_trains_are_refused(few_root: Path, tmp_path: Path) -> None:
    model, _ = fit(few_root, tmp_path, 4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"^Model came as one in training mode, expected .*: call model.eval\(\)\.$"):
        model.train()(images((SIDE, SIDE), 1))
    assert [name for name, value in model.state_dict().items() if not value.allclose(before[name], 0, 0, True)] == []


def test_a_deep_file_is_told_where_it_is_predicted(
    few_root: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    model, engine = fit(few_root, tmp_path, 4)
    path = tmp_path / "deep.png"
    PIL.Image.fromarray(np.full((SIDE, SIDE), 30000, dtype=np.uint16)).save(path)
    engine.predict(model, data_path=path)
    assert any("deep.png has more than 8 bit" in str(one.message) for one in recwarn)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true"])
def test_half_weights_are_refused_before_training(few_root: Path, tmp_path: Path, precision: str) -> None:
    with pytest.raises(ValueError, match=rf"^Precision came as {precision}, expected 32-true, bf16-mixed or 16-mixed"):
        fit(few_root, tmp_path, 32, precision=precision)


def test_mixed_precision_trains(few_root: Path, tmp_path: Path) -> None:
    model, _ = fit(few_root, tmp_path, 32, precision="bf16-mixed", limit_val_batches=1.0)
    assert_own_scales(model, model)


@pytest.mark.parametrize("seeds", [(0, 0), (0, 1)])
def test_the_runs_seed_decides_what_memories_start_from(few_root: Path, tmp_path: Path, seeds: tuple[int, int]) -> None:
    starts = []
    for seed in seeds:
        seed_everything(seed, verbose=False)
        fit(few_root, tmp_path, 32, max_steps=1, callbacks=[Start(starts)])
    assert torch.equal(*starts) == (seeds[0] == seeds[1])


class Start(Callback):
    """Notes the values of the memory before the first step."""

    def __init__(self, starts: list[torch.Tensor]) -> None:
        self.starts = starts

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.starts.append(pl_module.model.extraction.memory.values.detach().clone())


def test_workers_change_nothing(demo_root: Path, tmp_path: Path) -> None:
    """With one seed, whether images are loaded in this process or in another."""
    states = []
    for workers in (0, 1):
        seed_everything(0, verbose=False)
        model = Counted()
        engine = Engine(default_root_dir=tmp_path, max_epochs=2, **QUIET)
        engine.fit(model, datamodule=TextureDemo(root=demo_root, crop_size=70, num_workers=workers))
        states.append(model.state_dict())
    for name, value in states[0].items():
        assert torch.equal(value.nan_to_num(), states[1][name].nan_to_num()), name


def test_a_user_may_bring_another_optimiser(demo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counted, "configure_optimizers", lambda model: torch.optim.SGD(model.parameters(), lr=1e-3))
    assert fit(demo_root, tmp_path, 32, max_steps=1)[0].seen == [8, 8, 8, 8]
