"""Without a length, training shows a number of images; with one, nothing changes."""

import logging
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from anomalib_stc.host.length import OneCycle, chunks, set_default_length

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


class Counter(LightningModule):
    """Counts the images of training and the rounds of validation."""

    def __init__(self, images: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.wanted, self.images, self.validations = images, 0, 0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        set_default_length(self.trainer, self.wanted)
        self.steps = self.trainer.estimated_stepping_batches
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.images += len(batch)
        return self.weight * batch.sum()

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.validations += batch_idx == 0


def fit(images: int, size: int = 10, batch_size: int = 2, **trainer: Any) -> tuple[Counter, Trainer]:
    model, run = Counter(images), Trainer(**QUIET, **trainer)
    loader = DataLoader(torch.rand(size, 1), batch_size)
    run.fit(model, loader, DataLoader(torch.rand(2, 1)))
    return model, run


@pytest.mark.parametrize(
    ("size", "batch_size", "images", "shown"), [(10, 2, 30, 30), (10, 10, 25, 30), (10, 2, 31, 40), (10, 2, 3, 10)]
)
def test_whole_epochs_show_at_least_the_number_of_images(size: int, batch_size: int, images: int, shown: int) -> None:
    model, trainer = fit(images, size, batch_size)
    assert model.images == shown
    assert trainer.max_epochs == trainer.current_epoch == shown // size
    assert model.steps == trainer.global_step == shown // batch_size


def test_validation_runs_once_at_the_end() -> None:
    assert fit(40)[0].validations == 1


def test_a_users_validation_rhythm_stays() -> None:
    assert fit(40, check_val_every_n_epoch=2)[0].validations == 2


def test_a_limit_of_batches_counts() -> None:
    model, trainer = fit(20, limit_train_batches=2)
    assert (model.images, trainer.max_epochs) == (20, 5)


@pytest.mark.parametrize(
    ("told", "shown"), [({"max_epochs": 2}, 20), ({"max_steps": 3}, 6), ({"max_epochs": 2, "max_steps": 3}, 6)]
)
def test_a_users_length_stays(told: dict[str, int], shown: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        model, trainer = fit(1000, **told)
    assert model.images == shown
    assert trainer.check_val_every_n_epoch == 1
    assert "No length was given" not in caplog.text


def test_a_time_limit_is_a_length() -> None:
    _, trainer = fit(1000, max_time={"seconds": 0.001})
    assert trainer.max_epochs == -1


def test_the_log_says_how_to_change_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        fit(30)
    assert "No length was given: training 3 epochs; set trainer.max_epochs to change it." in caplog.text


def test_a_loader_with_its_own_batches() -> None:
    model, run = Counter(12), Trainer(**QUIET)
    data = torch.rand(6, 1)
    sampler = torch.utils.data.BatchSampler(range(6), batch_size=3, drop_last=False)
    run.fit(model, DataLoader(data, batch_sampler=sampler))
    assert model.images >= 12


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


def test_the_rate_moves_within_a_batch_and_returns_to_torchs_cycle() -> None:
    """Four parts of ten batches are forty steps of the same curve."""
    optimizers = [torch.optim.Adam([torch.nn.Parameter(torch.zeros(()))], lr=1.0) for _ in range(2)]
    ours = OneCycle(optimizers[0], 1.0, total_steps=10, pct_start=0.3)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizers[1], 1.0, total_steps=10, pct_start=0.3)
    rates = []
    for _ in range(9):
        for part in range(4):
            ours.move(part / 4)
            rates.append(optimizers[0].param_groups[0]["lr"])
        assert rates[-4] == optimizers[1].param_groups[0]["lr"]
        for scheduler in (ours, theirs):
            scheduler.optimizer.step()
            scheduler.step()
    highest = rates.index(max(rates))
    assert rates[: highest + 1] == sorted(rates[: highest + 1])
    assert rates[highest:] == sorted(rates[highest:], reverse=True)
    assert len(set(rates)) == len(rates)


def test_a_sampler_that_draws_more_than_there_is_counts_what_it_draws() -> None:
    model, run = Counter(40), Trainer(**QUIET)
    data = torch.rand(5, 1)
    run.fit(model, DataLoader(data, 4, sampler=torch.utils.data.RandomSampler(data, replacement=True, num_samples=20)))
    assert model.images == 40
