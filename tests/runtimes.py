"""Runs exported models as users run them: ONNX Runtime, and OpenVINO on the CPU in the precision that is asked for.

Without a hint OpenVINO computes in bfloat16 on processors that can, so that a test without one measures its machine.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import pytest

Outputs = dict[str, np.ndarray]
Program = Callable[[np.ndarray], Outputs]


def onnx_program(path: Path) -> Program:
    """Return an ONNX file as a program from an input to its outputs by name."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    given = session.get_inputs()[0].name
    return lambda image: dict(zip(names, session.run(names, {given: image}), strict=True))


def openvino_program(path: Path, precision: str = "f32") -> Program:
    """Return an OpenVINO or ONNX file as a program; skips where the processor has not the precision."""
    core = openvino.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bfloat16")
    compiled = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    return lambda image: {name: value for port, value in compiled(image).items() for name in port.names}


RUNTIMES: dict[str, Callable[[Path], Program]] = {"onnx": onnx_program, "openvino": openvino_program}
