"""A fit as users start, end, resume and repeat it: rates, checkpoints, and what is left for the next fit."""

import json
import logging
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from anomalib.callbacks import ModelCheckpoint
from anomalib.metrics import AUROC, Evaluator
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateFinder,
    timer,
)
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader

from anomalib_stc.host.module import BETAS
from tests.host.one_weight import QUIET, OneWeight, Red, engine, fit, images, write_set
from tests.models.training_contract import command

LOWEST = 1 / 25e4
PLAIN = {**QUIET, "num_sanity_val_steps": 0}
TWO_PROCESSES = """
import json, sys
from pathlib import Path
from tests.host.one_weight import OneWeight, engine, images

if __name__ == "__main__":
    root = Path(sys.argv[1])
    own = engine(root, devices=2, strategy="ddp", limit_val_batches=0)
    for _ in range(2):
        model = OneWeight(train_images=48)
        own.fit(model, datamodule=images(root, 2))
        print(json.dumps([model.rates, own.trainer.global_step, own.trainer.max_epochs]) + chr(10), end="", flush=True)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("noise"))


class StopAfter(Callback):
    """Ends a fit after a number of steps of the trainer: as an early stop, or by an error."""

    def __init__(self, steps: int, error: type[BaseException] | None = None) -> None:
        self.steps, self.error = steps, error

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step == self.steps:
            trainer.should_stop = True
            if self.error:
                raise self.error


class AtEnds(ModelCheckpoint):
    """A second checkpoint beside others."""


class AtValidations(ModelCheckpoint):
    """A third."""


def torchs(steps: int) -> list[float]:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(()))])
    theirs, rates = OneCycleLR(optimizer, 1.0, total_steps=steps, pct_start=0.1, cycle_momentum=False), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    return rates


def saved(trainer: Any) -> dict[str, Any]:
    return torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)


class TestRates:
    @pytest.mark.parametrize(
        ("told", "steps"),
        [
            ({"max_epochs": 7}, 21),
            ({"max_steps": 22}, 22),
            ({"max_epochs": 9, "max_steps": 20}, 20),
            ({"max_epochs": 10, "accumulate_grad_batches": 2}, 20),
            ({"max_epochs": 12, "limit_train_batches": 2, "gradient_clip_val": 0.1}, 24),
        ],
    )
    def test_of_a_known_length_are_torchs(self, data: Path, told: dict[str, Any], steps: int) -> None:
        model, trainer = fit(data, limit_val_batches=0, **told)
        accumulated = trainer.accumulate_grad_batches
        assert trainer.global_step == steps
        assert last_of(model.rates, accumulated) == pytest.approx(torchs(steps), rel=1e-6)

    def test_move_within_a_batch(self, data: Path) -> None:
        model, trainer = fit(data, batch=12, max_epochs=20, limit_val_batches=0)
        assert trainer.global_step == 20
        assert len(model.rates) == 40, "two steps of six images each"
        assert model.rates[::2] == pytest.approx(torchs(20), rel=1e-6)
        assert model.rates[1] > model.rates[0]

    @pytest.mark.parametrize("steps", [1, 10])
    def test_of_few_steps(self, data: Path, steps: int) -> None:
        model, _ = fit(data, max_steps=steps, limit_val_batches=0)
        assert model.rates[0] == max(model.rates) == 1
        assert len(model.rates) == steps

    def test_the_momentum_stays(self, data: Path) -> None:
        seen = set()
        model = OneWeight()
        model.on_train_batch_end = lambda *_: seen.add(model.optimizers().param_groups[0]["betas"])
        fit(data, model, max_epochs=4, limit_val_batches=0)
        assert seen == {BETAS}

    def test_without_an_end_rise_and_stay(self, data: Path, caplog: pytest.LogCaptureFixture) -> None:
        end = {"max_epochs": -1, "callbacks": [StopAfter(9)]}
        with caplog.at_level(logging.INFO):
            model, _ = fit(data, OneWeight(train_images=160), limit_val_batches=0, **end)
        assert model.rates[:4] == sorted(set(model.rates[:4]))
        assert model.rates[4:] == [1.0] * 5, "a tenth of 160 images are four steps"
        assert caplog.text.count("the learning rate rises over the first 16 images and then stays") == 1

    def test_of_a_time(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        model, now = OneWeight(), [0.0]
        monkeypatch.setattr(timer, "time", SimpleNamespace(monotonic=lambda: now[0]))
        model.on_train_batch_start = lambda *_: now.__setitem__(0, now[0] + 1)
        _, trainer = fit(data, model, max_time={"seconds": 30}, limit_val_batches=0)
        assert trainer.global_step == 30
        assert model.rates.index(max(model.rates)) == 2, "a tenth of the time"
        assert model.rates[-1] == pytest.approx(LOWEST)

    def test_of_what_comes_first(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(timer, "time", SimpleNamespace(monotonic=lambda: 0.0))
        model, _ = fit(data, max_time={"seconds": 30}, max_epochs=7, limit_val_batches=0)
        assert model.rates == pytest.approx(torchs(21), rel=1e-6)

    def test_where_gradients_are_accumulated_from_some_epoch_on(self, data: Path) -> None:
        scheduler = GradientAccumulationScheduler({0: 1, 4: 3})
        model, trainer = fit(data, max_epochs=8, callbacks=[scheduler], limit_val_batches=0)
        assert trainer.global_step == 4 * 3 + 4
        assert model.rates[-1] < 0.1
        assert model.rates[2:] == sorted(model.rates[2:], reverse=True)

    def test_where_the_loader_changes(self, data: Path) -> None:
        sizes = iter([4, 4, 4, 4, 12, 12, 12, 12])
        changing = images(data)
        load = changing.train_dataloader

        def another() -> DataLoader:
            changing.train_batch_size = next(sizes)
            return load()

        changing.train_dataloader = another
        model, own = OneWeight(), engine(data, max_epochs=8, limit_val_batches=0, reload_dataloaders_every_n_epochs=1)
        own.fit(model, datamodule=changing)
        assert own.trainer.global_step == 4 * 3 + 4
        assert model.rates[2:] == sorted(model.rates[2:], reverse=True)
        assert 0.3 < model.rates[12] < 0.8, "half of the epochs are left, though a quarter of the steps"
        assert model.rates[-1] < 0.1


def last_of(values: list[float], count: int) -> list[float]:
    """Return the last of every some values of three an epoch: steps are made at these."""
    return values if count == 1 else [value for number, value in enumerate(values) if number % 3 in (1, 2)]


class TestResuming:
    @pytest.mark.parametrize("told", [{}, {"max_epochs": 4}, {"max_steps": 12}, {"max_epochs": 5, "max_steps": 12}])
    def test_goes_on_at_the_rates_of_an_uninterrupted_run(
        self, data: Path, tmp_path: Path, told: dict[str, int]
    ) -> None:
        """From within an epoch, from its last step, from its end and from its validation."""
        steps = ModelCheckpoint(tmp_path / "steps", filename="{step}", every_n_train_steps=1, save_top_k=-1)
        ends = AtEnds(tmp_path / "ends", filename="{step}", save_top_k=-1, save_on_train_epoch_end=True)
        seen = AtValidations(tmp_path / "seen", filename="{step}", save_top_k=-1, save_on_train_epoch_end=False)
        whole, _ = fit(data, OneWeight(train_images=48), callbacks=[steps, ends, seen], **told)
        for name, step in (("steps", 4), ("steps", 6), ("ends", 6), ("seen", 6)):
            model, own = OneWeight(train_images=48), engine(data, limit_val_batches=1, **told)
            own.fit(model, datamodule=images(data), ckpt_path=tmp_path / name / f"step={step}.ckpt")
            assert model.rates == pytest.approx(whole.rates[step:], rel=1e-6), name
            assert own.trainer.global_step == 12

    def test_longer_goes_up_again(self, data: Path) -> None:
        _, first = fit(data, max_epochs=4)
        path = first.checkpoint_callback.best_model_path
        model, own = OneWeight(), engine(data, max_epochs=8)
        own.fit(model, datamodule=images(data), ckpt_path=path)
        assert own.trainer.global_step == 24
        assert model.rates == pytest.approx(torchs(24)[12:], rel=1e-6)

    def test_with_other_batches_goes_by_epochs(self, data: Path) -> None:
        _, first = fit(data, max_epochs=4)
        model, own = OneWeight(), engine(data, max_epochs=8)
        own.fit(model, datamodule=images(data, 12), ckpt_path=first.checkpoint_callback.best_model_path)
        assert len(model.rates) == 8
        assert model.rates[0] == pytest.approx(0.5, abs=0.15)
        assert model.rates[-1] == pytest.approx(LOWEST)


class TestToldNothing:
    def test_a_thousand_epochs_are_a_length(self, data: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO):
            _, trainer = fit(data, max_epochs=1000, callbacks=[StopAfter(2)], limit_val_batches=0)
        assert trainer.max_epochs == 1000
        assert "No length was given" not in caplog.text

    def test_lightnings_own_trainer_is_told_apart(self, data: Path, tmp_path: Path) -> None:
        model = OneWeight()
        Trainer(**PLAIN, default_root_dir=tmp_path).fit(model, datamodule=images(data))
        assert sum(model.seen) == 24

    def test_after_a_validation_it_is_still_told_apart(self, data: Path) -> None:
        model, own = OneWeight(), engine(data)
        for _ in range(2):
            own.fit(model, datamodule=images(data))
            own.validate(model, datamodule=images(data), verbose=False)
        assert sum(model.seen) == 48

    def test_a_users_own_optimiser_sees_the_length(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        steps = []
        model = OneWeight()

        def configured() -> Any:
            steps.append(model.trainer.estimated_stepping_batches)
            return torch.optim.SGD(model.parameters(), lr=1e-3)

        monkeypatch.setattr(model, "configure_optimizers", configured)
        fit(data, model)
        assert steps == [6]

    def test_the_command_line_tells_nothing(self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[int] = []
        monkeypatch.setattr(OneWeight, "on_train_end", lambda model: seen.append(sum(model.seen)))
        named = {"name": "noise", "root": data, "normal_dir": "good", "abnormal_dir": "bad", "num_workers": 0}
        split = {"normal_split_ratio": 0.2, "train_batch_size": 4}
        options = [word for key, value in {**named, **split}.items() for word in (f"--data.{key}", str(value))]
        quiet = [word for key in ("logger", "enable_progress_bar") for word in (f"--trainer.{key}", "false")]
        model = ["--model", "tests.host.one_weight.OneWeight", "--data", "anomalib.data.Folder", *options]
        for epochs in (None, "3"):
            told = ["--trainer.max_epochs", epochs] if epochs else []
            command("fit", *model, *quiet, "--trainer.accelerator", "cpu", *told, cwd=tmp_path)
        assert seen == [24, 36]

    @pytest.mark.slow
    def test_two_processes_train_as_long_as_one(self, data: Path, tmp_path: Path) -> None:
        program = tmp_path / "program.py"
        program.write_text(TWO_PROCESSES)
        places = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}}
        done = subprocess.run([sys.executable, program, data], check=False, capture_output=True, text=True, **places)
        assert done.returncode == 0, done.stderr[-2000:]
        found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[[")]
        assert len(found) == 4
        for rates, steps, epochs in found:
            assert rates == pytest.approx(torchs(12), rel=1e-6)
            assert (steps, epochs) == (12, None)


class TestASecondFit:
    @pytest.mark.parametrize(
        ("told", "same"),
        [
            ({}, False),
            ({}, True),
            ({"max_epochs": 2}, False),
            ({"max_steps": 6}, False),
            ({"max_epochs": 2, "max_steps": 9}, True),
        ],
    )
    def test_of_an_engine_is_a_whole_one(self, data: Path, told: dict[str, int], same: bool) -> None:
        own = engine(data, **told)
        first = OneWeight()
        own.fit(first, datamodule=images(data))
        path, rates = own.best_model_path, list(first.rates)
        second = first if same else OneWeight()
        second.rates.clear()
        own.fit(second, datamodule=images(data))
        assert second.rates == rates
        assert own.trainer.global_step == 6
        assert own.best_model_path != path
        assert Path(path).is_file(), "the first fit's stays"
        assert saved(own.trainer)["state_dict"]["model.weight"] == second.model.weight

    @pytest.mark.parametrize("error", [None, RuntimeError])
    @pytest.mark.parametrize("same", [False, True])
    def test_after_one_that_ended_early_begins_anew(self, data: Path, error: Any, same: bool) -> None:
        own, first = engine(data, max_epochs=4, callbacks=[StopAfter(4, error)]), OneWeight()
        second = first if same else OneWeight()
        for model in (first, second):
            model.rates.clear()
            with pytest.raises(error) if error else nullcontext():
                own.fit(model, datamodule=images(data))
            assert model.rates == pytest.approx(torchs(12)[:4])

    @pytest.mark.parametrize("told", [{"max_epochs": 4}, {}])
    def test_goes_on_where_the_user_made_it_longer(self, data: Path, told: dict[str, int]) -> None:
        own, model = engine(data, **told), OneWeight(train_images=48)
        own.fit(model, datamodule=images(data))
        own.trainer.fit_loop.max_epochs = 7
        model.rates.clear()
        own.fit(model, datamodule=images(data))
        assert own.trainer.global_step == 21
        assert model.rates == pytest.approx(torchs(21)[12:], rel=1e-6)

    def test_from_a_checkpoint_saves_its_own(self, data: Path, tmp_path: Path) -> None:
        keep = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1)
        own = engine(data, max_epochs=2, callbacks=[keep])
        own.fit(OneWeight(), datamodule=images(data))
        model = OneWeight()
        own.fit(model, datamodule=images(data), ckpt_path=tmp_path / "step=3.ckpt")
        assert len(model.rates) == 3
        assert saved(own.trainer)["global_step"] == 6
        assert saved(own.trainer)["state_dict"]["model.weight"] == model.model.weight

    def test_has_its_own_time(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [0.0]
        monkeypatch.setattr(timer, "time", SimpleNamespace(monotonic=lambda: now[0]))
        monkeypatch.setattr(OneWeight, "on_train_batch_start", lambda *_: now.__setitem__(0, now[0] + 1))
        own = engine(data, max_time={"seconds": 7}, limit_val_batches=0)
        for _ in range(2):
            model = OneWeight()
            own.fit(model, datamodule=images(data))
            assert len(model.seen) == 7

    def test_has_its_own_early_stop_and_best_checkpoint(self, data: Path) -> None:
        """Losses of the second model are ten times the first's: nothing of it would be best, and it would stop."""
        worse = [1.0]

        class Scaled(OneWeight):
            def training_step(self, batch: Any, batch_idx: int) -> Any:
                loss = super().training_step(batch, batch_idx)
                self.log("train_scaled", loss.detach() * 0 + worse[0] / (1 + self.trainer.current_epoch))
                return loss

        callbacks = [EarlyStopping("train_scaled", patience=1), ModelCheckpoint(monitor="train_scaled", save_top_k=1)]
        own = engine(data, max_epochs=4, callbacks=callbacks, limit_val_batches=0)
        for worse[0] in (1.0, 10.0):
            model = Scaled()
            own.fit(model, datamodule=images(data))
            assert own.trainer.current_epoch == 4
            assert own.trainer.checkpoint_callback.best_model_score == pytest.approx(worse[0] / 4)

    def test_is_not_looked_at_by_the_first_ones_callbacks(self, data: Path) -> None:
        model, own = OneWeight(), engine(data)
        own.fit(model, datamodule=images(data))
        own.test(model, datamodule=images(data), verbose=False)
        kept = [type(callback).__name__ for callback in own.trainer.callbacks]
        assert sorted(kept) == ["MaxStepsProgressCallback", "ModelCheckpoint", "TimerCallback"]

    def test_prepares_again_only_where_it_begins_anew(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        prepared = []
        monkeypatch.setattr(Red, "start", lambda *_: prepared.append(1))
        own, model = engine(data, max_epochs=1), OneWeight()
        own.fit(model, datamodule=images(data))
        own.trainer.fit_loop.max_epochs = 2
        own.fit(model, datamodule=images(data))
        assert len(prepared) == 1, "it goes on"
        own.fit(model, datamodule=images(data))
        assert len(prepared) == 2


class TestCheckpoints:
    @pytest.mark.parametrize(
        ("trainer", "step"),
        [
            ({"limit_val_batches": 0}, 6),
            ({"max_epochs": 2, "limit_val_batches": 0}, 6),
            ({"max_epochs": 2, "check_val_every_n_epoch": 5}, 6),
            ({"check_val_every_n_epoch": 50}, 6),
            ({"max_steps": 4, "check_val_every_n_epoch": 5}, 4),
            ({"max_epochs": 9, "check_val_every_n_epoch": 5, "callbacks": [StopAfter(4)]}, 4),
            ({"max_time": {"microseconds": 1}, "check_val_every_n_epoch": 5}, 1),
        ],
    )
    def test_the_end_leaves_one(
        self, data: Path, trainer: dict[str, Any], step: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO):
            model, run = fit(data, **trainer)
        content = saved(run)
        assert content["global_step"] == step
        assert content["state_dict"]["model.weight"] == model.model.weight
        assert content["state_dict"]["model.score.scale_red"].isfinite().all()
        OneWeight.load_from_checkpoint(run.checkpoint_callback.best_model_path, weights_only=True)
        due = trainer.get("limit_val_batches") == 0
        assert ("No checkpoint was due during training: its end is saved as" in caplog.text) == (not due)

    def test_it_can_be_trained_on(self, data: Path) -> None:
        _, first = fit(data, max_epochs=2, check_val_every_n_epoch=5)
        model, own = OneWeight(), engine(data, max_epochs=4)
        own.fit(model, datamodule=images(data), ckpt_path=first.checkpoint_callback.best_model_path)
        assert model.rates == pytest.approx(torchs(12)[6:], rel=1e-6)

    def test_the_last_is_among_them(self, data: Path, tmp_path: Path) -> None:
        keep = ModelCheckpoint(tmp_path, monitor="image_AUROC", save_last=True)
        _, run = fit(data, max_epochs=2, check_val_every_n_epoch=5, callbacks=[keep])
        assert Path(keep.last_model_path).is_file()
        assert Path(keep.best_model_path).is_file()
        assert saved(run)["global_step"] == 6

    def test_whoever_wants_none_gets_none(self, data: Path, tmp_path: Path) -> None:
        keep = ModelCheckpoint(tmp_path, save_top_k=0)
        fit(data, max_epochs=2, check_val_every_n_epoch=5, callbacks=[keep])
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("loaders", [1, 2])
    def test_plain_loaders_at_the_default_length(self, data: Path, tmp_path: Path, loaders: int) -> None:
        module, model = images(data), OneWeight()
        module.setup()
        for dataset in (module.train_data, module.test_data):
            dataset.augmentations = model.pre_processor.transform
        both = [module.train_dataloader(), module.test_dataloader()][:loaders]
        run = Trainer(**PLAIN, default_root_dir=tmp_path)
        run.fit(model, *both)
        assert sum(model.seen) == 32
        assert saved(run)["global_step"] == 8

    def test_a_killed_training_leaves_the_last_validation(self, data: Path) -> None:
        model, own = OneWeight(train_images=96), engine(data, callbacks=[StopAfter(14, RuntimeError)])
        with pytest.raises(RuntimeError):
            own.fit(model, datamodule=images(data))
        assert model.validated == [1, 3]
        assert saved(own.trainer)["global_step"] == 12

    def test_one_killed_before_says_that_there_is_none(self, data: Path, caplog: pytest.LogCaptureFixture) -> None:
        with pytest.raises(SystemExit):
            fit(data, callbacks=[StopAfter(2, KeyboardInterrupt)])
        assert "Training was broken off at step 2, and no checkpoint was saved." in caplog.text

    def test_an_early_stop_has_a_validation_to_look_at(self, data: Path) -> None:
        metric = AUROC(fields=["pred_score", "gt_label"], prefix="image_")
        model = OneWeight(train_images=96, evaluator=Evaluator(val_metrics=[metric]))
        _, run = fit(data, model, callbacks=[EarlyStopping("image_AUROC", patience=1, mode="max", min_delta=2)])
        assert model.validated == [1, 3]
        assert saved(run)["global_step"] == 12


class TestFinders:
    def test_batch_size(self, data: Path) -> None:
        finder = BatchSizeFinder(batch_arg_name="train_batch_size", init_val=4, max_val=8)
        model, run = fit(data, max_epochs=10, callbacks=[finder], limit_val_batches=0)
        assert finder.optimal_batch_size == 8
        assert run.global_step == 20
        assert model.rates[-20:] == pytest.approx(torchs(20), rel=1e-6)
        assert model.prepared

    def test_learning_rate(self, data: Path) -> None:
        finder = LearningRateFinder(min_lr=1e-3, max_lr=0.5, num_training_steps=20)
        model, run = fit(data, max_epochs=7, callbacks=[finder], limit_val_batches=0)
        found = finder.optimal_lr.suggestion()
        assert run.global_step == 21
        assert model.learning_rate == found < 1
        assert model.rates[-21:] == pytest.approx([found * rate for rate in torchs(21)], rel=1e-6)
        assert model.prepared
