"""Commands and programs of README.md and docs/, run as they stand but for a small model and the folders they name."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from anomalib_stc.data import TextureDemo
from benchmarks.__main__ import main as benchmark
from benchmarks.readme import RACE, RESULTS
from tests.models.training_contract import command
from tests.small_sets import keep

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = {path: path.read_text(encoding="utf-8") for path in (README, *sorted((ROOT / "docs").glob("*.md")))}
LINKING = {**PAGES, ROOT / "CONTRIBUTING.md": (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")}
BLOCKS = {path: re.findall(r"```(\w+)\n(.*?)```", text, flags=re.DOTALL) for path, text in PAGES.items()}
SHELL = {
    path: [line for language, block in blocks if language == "bash" for line in block.strip().splitlines()]
    for path, blocks in BLOCKS.items()
}
TRAIN = [line for lines in SHELL.values() for line in lines if line.startswith("anomalib train")]
OWN = next(line for line in SHELL[README] if "folder.yaml" in line)
(EXPORT,) = [line for line in SHELL[README] if line.startswith("anomalib export")]
PROGRAM, INFERENCE = [block for language, block in BLOCKS[README] if language == "python"]
METRICS, FOLDER = [block for language, block in BLOCKS[README] if language == "text"]
(AUPRO,) = {found for text in PAGES.values() for found in re.findall(r"`(--model\.evaluator .*?)`", text)}
SMALL = {"image_size": 64, "train_images": 8}
FEWER = {
    "stcm": {"memory_items": 16},
    "proxy_ano": {"memory_items": 16, "superpixels": 40},
    "i3ad": {"codebook_items": 16},
}


@pytest.fixture
def place(demo_root: Path, tmp_path: Path) -> Path:
    """A working folder with configurations, the demo set as category `C` of root `R`, and one's own images in `R`."""
    TextureDemo(root=demo_root).prepare_data()
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    category = next(demo_root.glob("brick-*-s*"), None) or next(demo_root.glob("brick-*"))
    shutil.copytree(category, tmp_path / "R" / "C")
    keep(tmp_path / "R" / "C", test=2, train=20)  # every picture drawn takes its time
    for folder, brightness in (("good", 120), ("defect", 220), ("mask", 256)):
        (tmp_path / "R" / folder).mkdir()
        for number in range(12):
            pixels = np.random.default_rng(number).integers(brightness - 20, brightness, (70, 90, 3), dtype=np.uint8)
            drawn = np.full((70, 90), 255, dtype=np.uint8) if folder == "mask" else pixels
            Image.fromarray(drawn).save(tmp_path / "R" / folder / f"{number}.png")
    return tmp_path


def small(line: str) -> list[str]:
    prefix = "--model.init_args." if "--config" in line else "--model."
    (fewer,) = [
        arguments for model, arguments in FEWER.items() if f"{model}.yaml" in line or f"--model {model}" in line
    ]
    return [f"{prefix}{name}={value}" for name, value in {**SMALL, **fewer}.items()]


def quick(line: str) -> list[str]:
    return ["--trainer.logger=false"] if "--config" in line else ["--trainer.logger=false", "--data.num_workers=0"]


def metric_names(printed: str) -> list[str]:
    """The first column of the table of test metrics."""
    return re.findall(r"│\s+((?:image|pixel)_\w+)\s+│", printed)


def test_every_command_is_known() -> None:
    """`make demo` is tested in test_demo.py, rescore in test_rescore.py, an installed package in tests/plugin."""
    assert {path.name: [line.split()[:2] for line in lines] for path, lines in SHELL.items() if lines} == {
        "README.md": [
            ["make", "demo"],
            ["pip", "install"],
            *[["anomalib", "train"]] * 2,
            ["anomalib", "export"],
        ],
        "benchmark.md": [["python", "-m"]] * 2,
        "scores.md": [["python", "-m"]],
        "training.md": [["anomalib", "train"]] * 5,
    }


def test_every_make_target_named_exists() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    named = {name for text in LINKING.values() for name in re.findall(r"`make ([a-z-]+)", text)}
    assert {"test", "lint"} <= named <= set(targets)


@pytest.mark.parametrize("page", LINKING, ids=lambda path: path.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", LINKING[page]) if "://" not in target]
    assert [target for target in targets if not (page.parent / target.split("#")[0]).exists()] == []


@pytest.mark.parametrize("page", LINKING, ids=lambda path: path.name)
def test_every_configuration_named_exists(page: Path) -> None:
    named = re.findall(r"(?:benchmarks/)?configs/[\w/]+\.yaml", LINKING[page])
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_every_page_is_linked_from_the_readme() -> None:
    assert [path.name for path in LINKING if path != README and path.name not in PAGES[README]] == []


def test_python_version_and_citation_are_those_of_the_package() -> None:
    project = dict(re.findall(r'^([\w-]+) = "(.*)"$', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE))
    oldest = project["requires-python"].removeprefix(">=")
    for page in (README, ROOT / "CONTRIBUTING.md", ROOT / "docs" / "limits.md"):
        assert f"Python {oldest} or newer" in LINKING[page]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["title"], citation["version"], citation["license"]) == (
        project["name"],
        project["version"],
        project["license"],
    )


def test_times_are_those_measured() -> None:
    """The page has `train_s` of 60 images, and the latency that was printed, in whole numbers."""
    row = r"^\|[^|]*\| `(\w+)` \|[^|]*\| (\d+) s \|$"
    written = {name: int(seconds) for name, seconds in re.findall(row, PAGES[README], flags=re.MULTILINE)}
    (without,) = re.findall(r"`--model.train_images 1`, it is (\d+) s", PAGES[README])
    training = (
        pd.read_csv(RESULTS / "growth" / "runs.csv").set_index(["set", "model"])["train_s"].round()["mt-small/60"]
    )
    assert {**written, "ours": int(without)} == {name: training[name] for name in ("ours", "proxy_ano", "i3ad", "stcm")}
    printed = re.findall(r"^(\w+) +([\d.]+) ms", (RACE / "latency.txt").read_text(), flags=re.MULTILINE)
    latency = {name: round(float(ms)) for name, ms in printed}
    page = " ".join(PAGES[README].split())
    told = re.findall(r"takes (\d+) ms|\(ResNet18\) took (\d+) ms|\(WideResNet50-2\) (\d+) ms", page)
    assert [int("".join(one)) for one in told] == [latency[name] for name in ("ours", "padim", "patchcore")]


@pytest.mark.parametrize("line", [line for line in TRAIN if line != OWN])
def test_training_command(line: str, place: Path) -> None:
    aupro = [] if "--config" in line else AUPRO.split()
    printed = command(*shlex.split(line)[1:], *small(line), *quick(line), *aupro, cwd=place)
    assert "image_AUROC" in printed
    assert ("pixel_AUPRO" in printed) is ("normals_only" not in line)


def test_own_images_from_training_to_use(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the README says is printed and written is printed and written, and its export and inference follow."""
    printed = command(*shlex.split(OWN)[1:], *small(OWN), *quick(OWN), cwd=place)
    assert metric_names(printed) == metric_names(METRICS)
    folder, *entries = [line.split()[0] for line in FOLDER.splitlines()]
    assert [entry for entry in entries if not (place / folder / entry).exists()] == []
    command(*shlex.split(EXPORT)[1:], *small(EXPORT), cwd=place)
    monkeypatch.chdir(place)
    names: dict[str, Any] = {}
    exec(INFERENCE, names)
    assert 0 <= names["score"] <= 1
    assert names["defective"] in (True, False)
    assert names["anomaly_map"].shape[-2:] == (64, 64)


def test_benchmark_commands(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    run, report = (shlex.split(line)[3:] for line in SHELL[ROOT / "docs" / "benchmark.md"])
    assert benchmark([*run, "--models", "padim", "--seeds", "0", "--image-size", "64"]) == 0
    assert benchmark(report) == 0
    written = (place / "results" / "mine" / "report.md").read_text()
    assert "padim" in written
    assert "statistic" in written


def test_program(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ", ".join(f"{name}={value}" for name, value in {**SMALL, **FEWER["proxy_ano"]}.items())
    monkeypatch.chdir(place)
    names: dict[str, Any] = {}
    exec(PROGRAM.replace("image_size=256", arguments), names)
    assert names["reconstruction"].shape[1:] == (3, 64, 64)
