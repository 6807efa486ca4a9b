"""Fixtures that many tests share: sets of real images, where the user has them, and the demo set."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from anomalib_stc.data import TextureDemo
from tests.images import VARIABLE, real_sets
from tests.small_sets import keep

pytest.register_assert_rewrite("tests.models.contract", "tests.models.training_contract")


@pytest.fixture(scope="session", autouse=True)
def quick_exporter() -> Iterator[None]:
    """Look away from torch's own exporter: to trace its calls for coverage takes as long as to run them."""
    export = torch.onnx.export

    def untraced(*arguments: Any, **options: Any) -> Any:
        tracer = sys.gettrace()
        sys.settrace(None)
        try:
            return export(*arguments, **options)
        finally:
            sys.settrace(tracer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", untraced)
        yield


@pytest.fixture(scope="session")
def data_root() -> Callable[[str], Path]:
    """Give a function that returns the folder holding a named set, or skips the test and says why."""

    def root_of(name: str) -> Path:
        root = os.environ.get(VARIABLE)
        if not root:
            pytest.skip(f"needs real images: set {VARIABLE} to the folder that holds {name}")
        if not (Path(root) / name / "train" / "good").is_dir():
            pytest.skip(f"needs the set {name}, which {VARIABLE}={root} does not hold")
        return Path(root)

    return root_of


@pytest.fixture(params=real_sets() or ["any set"])
def real_set(request: pytest.FixtureRequest, data_root: Callable[[str], Path]) -> Path:
    """Give the folder of each of the user's sets of real images in turn."""
    return data_root(request.param) / request.param


@pytest.fixture(scope="session")
def demo_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give one folder for `TextureDemo` to write to, so that a session writes each set once."""
    return tmp_path_factory.mktemp("texture_demo")


@pytest.fixture(scope="session")
def few_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give one folder with a `TextureDemo` of crop size 70 that has few images: 12 to train on, 3 of a kind to test."""
    root = tmp_path_factory.mktemp("few_textures")
    TextureDemo(root=root, crop_size=70).prepare_data()
    keep(root, test=3, train=12)
    return root
