"""The state of a model: told from others, copied, given to all processes."""

from typing import Any, Final

import torch
from torch import Tensor, nn

from anomalib_stc.parts.bank import TERMS

Buffers = dict[str, Tensor]
CURVES: Final = frozenset(f"score.scale_{name}" for name in (*TERMS, "bank_level"))  # of what needs no training


def fingerprint(model: nn.Module) -> int:
    """Return a number that in practice tells the state of a network from any other, on every device the same.

    What a calibration sets is left out, and so are counters.
    """
    state = [value for name, value in model.state_dict().items() if not is_calibration(name)]
    numbers = [value.float().contiguous() for value in state if value.is_floating_point()]
    sums = [value.view(torch.int32).sum(dtype=torch.int64) for value in numbers]
    return hash(tuple(torch.stack(sums).tolist()))


def is_calibration(name: str) -> bool:
    """Return whether an entry of a network's state comes from a calibration."""
    last = name.rpartition(".")[2]
    return last in {"threshold", "scores"} or last.startswith("scale_")


def is_of_bank(name: str) -> bool:
    """Return whether an entry of a network's state is what a memory bank knows: nothing that is trained changes it."""
    return name.startswith("bank.") or name in CURVES


def buffers_of(part: nn.Module | None) -> Buffers:
    """Return copies of all buffers of a part of a model."""
    return {} if part is None else {name: value.clone() for name, value in part.named_buffers()}


def set_buffers(part: nn.Module | None, buffers: Buffers) -> None:
    """Write back what `buffers_of` returned."""
    for name, value in ({} if part is None else dict(part.named_buffers())).items():
        if name in buffers:
            value.copy_(buffers[name])


def has_buffers(part: nn.Module, buffers: Buffers) -> bool:
    """Return whether a part of a model holds what `buffers_of` returned, maybe on another device, to the last bit."""
    own = dict(part.named_buffers())
    return all(own[name].cpu().allclose(value.cpu(), rtol=0, atol=0, equal_nan=True) for name, value in buffers.items())


@torch.no_grad()
def same_on_all_ranks(pl_module: Any) -> None:
    """Give all processes of a training the state of the first: each has running statistics of its own images."""
    trainer = pl_module.trainer
    if trainer.world_size == 1:
        return
    own = pl_module.state_dict()
    first = trainer.strategy.broadcast({name: value.cpu() for name, value in own.items()})
    for name, value in own.items():
        value.copy_(first[name])
