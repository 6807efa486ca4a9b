"""The README's commands and program, run as they stand but for a small model and the folders they name."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anomalib_stc.data import TextureDemo
from benchmarks.__main__ import main as benchmark
from tests.models.training_contract import command
from tests.small_sets import keep

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
SHELL = [line for language, block in BLOCKS if language == "bash" for line in block.strip().splitlines()]
TRAIN = [line for line in SHELL if line.startswith("anomalib train")]
(AUPRO,) = re.findall(r"`(--model\.evaluator .*?)`", README)
SMALL = {"image_size": 64, "train_images": 8}
FEWER = {
    "stcm": {"memory_items": 16, "parts": 8},
    "proxy_ano": {"memory_items": 16, "superpixels": 40},
    "i3ad": {"codebook_items": 16},
}


@pytest.fixture
def place(demo_root: Path, tmp_path: Path) -> Path:
    """A working folder with configurations, the demo set as category `C` of root `R`, and a folder `good` in `R`."""
    TextureDemo(root=demo_root).prepare_data()
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    category = next(demo_root.glob("brick-*-s*"), None) or next(demo_root.glob("brick-*"))
    shutil.copytree(category, tmp_path / "R" / "C")
    keep(tmp_path / "R" / "C", test=2)  # every picture drawn takes its time
    for folder, brightness in (("good", 120), ("bad", 220)):
        (tmp_path / "R" / folder).mkdir()
        for number in range(12):
            pixels = np.random.default_rng(number).integers(brightness - 20, brightness, (70, 90, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "R" / folder / f"{number}.png")
    return tmp_path


def small(line: str) -> list[str]:
    prefix = "--model.init_args." if "--config" in line else "--model."
    (fewer,) = [
        arguments for model, arguments in FEWER.items() if f"{model}.yaml" in line or f"--model {model}" in line
    ]
    return [f"{prefix}{name}={value}" for name, value in {**SMALL, **fewer}.items()]


def test_every_command_is_known() -> None:
    """`make demo` is tested in test_demo.py, and `make test` is how this runs."""
    assert [line.split()[:2] for line in SHELL] == [
        ["make", "demo"],
        ["make", "test"],
        *[["anomalib", "train"]] * 6,
        ["anomalib", "export"],
        *[["python", "-m"]] * 2,
    ]


@pytest.mark.parametrize("line", TRAIN)
def test_training_command(line: str, place: Path) -> None:
    quick = ["--trainer.logger=false"] if "--config" in line else ["--trainer.logger=false", "--data.num_workers=0"]
    aupro = [] if "--config" in line else AUPRO.split()
    printed = command(*shlex.split(line)[1:], *small(line), *quick, *aupro, cwd=place)
    assert "image_AUROC" in printed
    assert ("pixel_AUPRO" in printed) is ("normals_only" not in line)
    if "--data MVTecAD" in line:
        export = next(line for line in SHELL if line.startswith("anomalib export"))
        command(*shlex.split(export)[1:], *small(export), cwd=place)
        assert len(list(place.rglob("model.xml"))) == 1


def test_benchmark_commands(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    run, report = (shlex.split(line)[3:] for line in SHELL if line.startswith("python -m benchmarks"))
    assert benchmark([*run, "--models", "padim", "--seeds", "0", "--image-size", "64"]) == 0
    assert benchmark(report) == 0
    written = (place / "results" / "mine" / "report.md").read_text()
    assert "padim" in written
    assert "statistic" in written


def test_program(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = [block for language, block in BLOCKS if language == "python"]
    arguments = ", ".join(f"{name}={value}" for name, value in {**SMALL, **FEWER["stcm"]}.items())
    monkeypatch.chdir(place)
    names: dict[str, Any] = {}
    exec(program.replace("image_size=256", arguments), names)
    assert names["reconstruction"].shape[1:] == (3, 64, 64)
