"""Without a length, training shows a number of images; with one, nothing changes."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer
from torch.utils.data import DataLoader, IterableDataset

from anomalib_stc.host.length import Length, chunks, untold

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


class Counter(LightningModule):
    """Counts the images of training and the rounds of validation; notes the length as others see it."""

    def __init__(self, images: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.train_images, self.images, self.validations = images, 0, []
        self.untold = False

    def configure_callbacks(self) -> list[Callback]:
        return [Length(self.untold)]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        self.steps = self.trainer.estimated_stepping_batches
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def on_train_start(self) -> None:
        self.epochs, self.rhythm = self.trainer.max_epochs, self.trainer.check_val_every_n_epoch

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.images += len(batch)
        self.log("train_loss", self.weight * 0)
        return self.weight * batch.sum()

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.validations += [self.trainer.current_epoch + 1] * (batch_idx == 0)
        self.log("found", float(len(self.validations)))


def fit(images: int, size: int = 10, batch_size: int = 2, validation: int = 2, **trainer: Any) -> tuple[Counter, Any]:
    model, run = Counter(images), Trainer(**QUIET, **trainer)
    model.untold = untold(run)
    validate = [DataLoader(torch.rand(validation, 1))] if validation else []
    run.fit(model, DataLoader(torch.rand(size, 1), batch_size), *validate)
    return model, run


@pytest.mark.parametrize(
    ("size", "batch_size", "images", "shown"), [(10, 2, 30, 30), (10, 10, 25, 30), (10, 2, 31, 40), (10, 2, 3, 10)]
)
def test_whole_epochs_show_at_least_the_number_of_images(size: int, batch_size: int, images: int, shown: int) -> None:
    model, trainer = fit(images, size, batch_size)
    assert model.images == shown
    assert model.epochs == trainer.current_epoch == shown // size
    assert model.steps == trainer.global_step == shown // batch_size


@pytest.mark.parametrize(
    ("epochs", "trained", "rhythm"),
    [(1, 1, 1), (2, 2, 1), (4, 4, 1), (5, 5, 1), (7, 8, 2), (9, 9, 3), (10, 10, 2), (15, 15, 3), (16, 16, 4)],
)
def test_it_validates_some_four_times_the_last_at_the_very_end(epochs: int, trained: int, rhythm: int) -> None:
    model, trainer = fit(4 * epochs, size=4, batch_size=4)
    assert model.epochs == trainer.current_epoch == trained
    assert model.validations == list(range(rhythm, trained + 1, rhythm))


@pytest.mark.parametrize("without", [{"validation": 0}, {"limit_val_batches": 0}])
def test_without_validation_the_rhythm_stays_that_of_checkpoints(without: dict[str, int]) -> None:
    model, _ = fit(70, **without)
    assert (model.epochs, model.rhythm, model.validations) == (7, 1, [])


@pytest.mark.parametrize(
    ("told", "validated"),
    [({"check_val_every_n_epoch": 2}, [2, 4, 6]), ({"val_check_interval": 0.5}, [1, 1, 2, 2, 3, 3, 4, 4])],
)
def test_a_users_validation_rhythm_stays(told: dict[str, Any], validated: list[int]) -> None:
    model, _ = fit(4 * validated[-1], size=4, batch_size=2, **told)
    assert model.validations == validated


def test_a_users_time_between_validations_stays() -> None:
    model, _ = fit(80, val_check_interval="00:01:00:00")
    assert (model.epochs, model.rhythm, model.validations) == (8, 1, [])


def test_the_least_number_of_epochs_counts() -> None:
    assert fit(10, min_epochs=3)[0].images == 30


def test_a_limit_of_batches_counts() -> None:
    model, _ = fit(20, limit_train_batches=2)
    assert (model.images, model.epochs) == (20, 5)


@pytest.mark.parametrize(
    ("told", "shown"), [({"max_epochs": 2}, 20), ({"max_steps": 3}, 6), ({"max_epochs": 2, "max_steps": 3}, 6)]
)
def test_a_users_length_stays(told: dict[str, int], shown: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        model, trainer = fit(1000, **told)
    assert model.images == shown
    assert trainer.check_val_every_n_epoch == 1
    assert trainer.max_epochs == told.get("max_epochs", -1)
    assert "No length was given" not in caplog.text


def test_a_time_limit_is_a_length() -> None:
    _, trainer = fit(1000, max_time={"seconds": 0.001})
    assert trainer.max_epochs == -1


def test_taking_the_time_is_no_length() -> None:
    assert fit(30, callbacks=[Timer()])[0].images == 30


def test_the_log_says_how_to_change_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        fit(30)
    assert "No length was given: training 3 epochs; set trainer.max_epochs to change it." in caplog.text


@pytest.mark.parametrize("end", [None, RuntimeError, KeyboardInterrupt])
def test_nothing_of_a_fit_stays_in_the_trainer(end: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, run = Counter(80), Trainer(**QUIET, callbacks=[EarlyStopping("found", patience=9)])
    model.untold = untold(run)
    if end:
        monkeypatch.setattr(model, "on_train_epoch_end", lambda: (_ for _ in ()).throw(end), raising=False)
    with pytest.raises((SystemExit, RuntimeError)) if end else monkeypatch.context():
        run.fit(model, DataLoader(torch.rand(10, 1), 2), DataLoader(torch.rand(2, 1)))
    assert model.rhythm == 2
    assert run.max_epochs is None
    assert run.check_val_every_n_epoch == 1
    assert untold(run), "the next fit finds it as this one did"


def test_an_early_stop_looks_at_validations() -> None:
    model, trainer = fit(80, callbacks=[EarlyStopping("found", patience=1, mode="min")])
    assert (model.validations, trainer.current_epoch) == ([2, 4], 4)


def test_an_early_stop_on_the_training_loss_looks_at_every_epoch() -> None:
    _, trainer = fit(80, callbacks=[EarlyStopping("train_loss", patience=1)])
    assert trainer.current_epoch == 2


def test_another_number_of_images_comes_with_a_checkpoint(tmp_path: Path) -> None:
    class Adopting(Counter):
        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            self.train_images = 50

    loaders = DataLoader(torch.rand(10, 1), 2), DataLoader(torch.rand(2, 1))
    _, first = fit(20, max_epochs=1)
    first.save_checkpoint(tmp_path / "first.ckpt")
    model, run = Adopting(80), Trainer(**QUIET)
    model.untold = True
    run.fit(model, *loaders, ckpt_path=tmp_path / "first.ckpt")
    assert (model.epochs, model.validations) == (5, [2, 3, 4, 5])


def test_a_loader_with_its_own_batches() -> None:
    model, run = Counter(12), Trainer(**QUIET)
    model.untold = True
    data = torch.rand(6, 1)
    sampler = torch.utils.data.BatchSampler(range(6), batch_size=3, drop_last=False)
    run.fit(model, DataLoader(data, batch_sampler=sampler))
    assert model.images >= 12


def test_a_loader_of_unknown_length_needs_one() -> None:
    class Stream(IterableDataset):
        def __iter__(self) -> Any:
            yield from torch.rand(10, 1)

    model, run = Counter(12), Trainer(**QUIET)
    model.untold = True
    with pytest.raises(ValueError, match=r"^No length was given, and that of the training images .*: set .*max_steps"):
        run.fit(model, DataLoader(Stream(), 2))


def test_places_that_the_last_batch_leaves_empty_are_no_images() -> None:
    model, _ = fit(30, size=10, batch_size=8)
    assert model.images == 30


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(1, [1]), (8, [8]), (11, [11]), (12, [6, 6]), (22, [7, 7, 8]), (32, [8, 8, 8, 8]), (64, [8] * 8)],
)
def test_a_batch_is_cut_into_equal_chunks_of_about_eight(count: int, sizes: list[int]) -> None:
    cut = chunks(count)
    assert [len(range(count)[chunk]) for chunk in cut] == sizes
    assert [number for chunk in cut for number in range(count)[chunk]] == list(range(count))


def test_a_sampler_that_draws_more_than_there_is_counts_what_it_draws() -> None:
    model, run = Counter(40), Trainer(**QUIET)
    model.untold = True
    data = torch.rand(5, 1)
    run.fit(model, DataLoader(data, 4, sampler=torch.utils.data.RandomSampler(data, replacement=True, num_samples=20)))
    assert model.images == 40
