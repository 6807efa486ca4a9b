"""The arithmetic of scores: that of an exported graph, whatever a training or the device would rather use."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import torch
from torch.backends import cudnn

_all: Any = torch.backends  # torch's types know them by half
SWITCHES: Final = (_all.cuda.matmul, _all.cudnn.conv, _all.mkldnn.matmul, _all.mkldnn.conv)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Compute in 32 bit: not mixed, and on a CUDA device not in TF32, whose ten bits change the third digit."""
    with ExitStack() as stack:
        stack.enter_context(torch.autocast(device.type, enabled=False))
        try:
            stack.enter_context(_by_old_switches())
        except RuntimeError:  # the user has set the new ones, which torch does not let mix with the old ones
            stack.enter_context(_by_new_switches())
        yield


@contextmanager
def _by_old_switches() -> Iterator[None]:
    matmul = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with cudnn.flags(cudnn.enabled, cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)


@contextmanager
def _by_new_switches() -> Iterator[None]:
    before = [switch.fp32_precision for switch in SWITCHES]
    for switch in SWITCHES:
        switch.fp32_precision = "ieee"
    try:
        yield
    finally:
        for switch, precision in zip(SWITCHES, before, strict=True):
            switch.fp32_precision = precision
