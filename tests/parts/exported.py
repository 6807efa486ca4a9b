"""Runs a module as ONNX and as OpenVINO, exported the way anomalib exports a model."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tests.runtimes import RUNTIMES

Program = Callable[[Tensor], list[Tensor]]
TOLERANCE = 1e-5


def assert_exports_agree(module: nn.Module, example: Tensor, folder: Path) -> None:
    """Compare torch, ONNX Runtime and OpenVINO on one and three images of noise."""
    module = module.eval()
    exported = programs(module, example, folder)
    for batch in (1, 3):
        given = torch.rand(batch, *example.shape[1:], generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            expected = module(given)
        expected = [expected] if isinstance(expected, Tensor) else list(expected)
        for name, program in exported.items():
            for wanted, got in zip(expected, program(given), strict=True):
                torch.testing.assert_close(
                    got, wanted, atol=TOLERANCE, rtol=TOLERANCE, msg=lambda m, n=name, b=batch: f"{n}, batch {b}: {m}"
                )


def programs(module: nn.Module, example: Tensor, folder: Path) -> dict[str, Program]:
    """Export a module of one input, whose batch size stays free, and return its programs by name."""
    path = folder / "module.onnx"
    batch = torch.export.Dim("batch", min=1, max=64)
    torch.onnx.export(module, (example,), path, dynamo=True, dynamic_shapes=({0: batch},), verbose=False)
    loaded = {name: load(path) for name, load in RUNTIMES.items()}
    return {name: lambda given, run=run: _tensors(run(given.numpy()).values()) for name, run in loaded.items()}


def _tensors(arrays: Iterable[np.ndarray]) -> list[Tensor]:
    return [torch.from_numpy(np.array(array)) for array in arrays]
