"""The rate is torch's cycle, at the place where the trainer is; where torch's breaks, ours does not."""

from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from anomalib_stc.host.schedule import Cycle, Place, one_cycle


def adam(*rates: float) -> torch.optim.Adam:
    return torch.optim.Adam([{"params": [torch.nn.Parameter(torch.zeros(()))], "lr": rate} for rate in rates])


def torchs(steps: int, chunks: int = 1) -> list[float]:
    """Rates of torch's cycle over some batches, each trained on in some steps between which the rate moves."""
    theirs: Any = OneCycleLR(adam(1.0), 1.0, total_steps=steps, pct_start=0.1)
    theirs._get_lr_called_within_step = True
    rates = []
    for number in range(steps * chunks):
        theirs.last_epoch = min(number / chunks, steps - 1)
        rates += theirs.get_lr()
    return rates


@pytest.mark.parametrize("chunks", [1, 4])
@pytest.mark.parametrize("steps", [11, 20, 37, 96, 200])
def test_rates_are_torchs(steps: int, chunks: int) -> None:
    ours = [one_cycle(Place(number / chunks / steps, 1 / steps)) for number in range(steps * chunks)]
    assert ours == pytest.approx(torchs(steps, chunks), rel=1e-6)


@pytest.mark.parametrize("steps", range(2, 11))
def test_few_steps_begin_at_the_highest_rate(steps: int) -> None:
    """Of ten, torch's divides by zero; of fewer, it begins on its way down."""
    rates = [one_cycle(Place(number / steps, 1 / steps)) for number in range(steps)]
    assert rates[0] == 1
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(1 / 25e4)


def test_the_only_step_has_the_highest_rate() -> None:
    assert one_cycle(Place(0.0, 1.0)) == 1


def test_where_no_step_is_known_the_whole_is_the_cycle() -> None:
    rates = [one_cycle(Place(number / 1000)) for number in range(1001)]
    assert rates[0] == pytest.approx(1 / 25)
    assert rates.index(max(rates)) == 100
    assert rates[-1] == one_cycle(Place(5.0)) == pytest.approx(1 / 25e4)


def test_every_group_has_its_own_highest_rate_which_may_change() -> None:
    rates, here = [2.0, 0.5], [Place(0.1)]
    optimizer = adam(9.0, 9.0)
    cycle = Cycle(optimizer, lambda: rates, lambda share: here[0])
    assert [group["lr"] for group in optimizer.param_groups] == [2.0, 0.5]
    rates[:] = [4.0, 1.0]
    cycle.move(0.0)
    assert [group["lr"] for group in optimizer.param_groups] == cycle.get_last_lr() == [4.0, 1.0]


def test_the_rate_moves_within_a_step() -> None:
    optimizer = adam(1.0)
    cycle = Cycle(optimizer, lambda: [1.0], lambda share: Place((3 + share) / 20, 1 / 20))
    cycle.move(0.25)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(torchs(20, 4)[13], rel=1e-6)


def test_nothing_is_kept_and_what_torchs_kept_is_ignored() -> None:
    optimizer = adam(1.0)
    theirs = OneCycleLR(adam(1.0), 1.0, total_steps=5)
    cycle = Cycle(optimizer, lambda: [1.0], lambda share: Place(0.1))
    cycle.load_state_dict(theirs.state_dict())
    optimizer.step()
    cycle.step()
    assert cycle.state_dict() == {}
    assert optimizer.param_groups[0]["lr"] == 1
