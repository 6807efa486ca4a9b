"""Sets of many normal images are made from one of few, and every model is run and timed on each."""

import json
from pathlib import Path

import numpy as np
import pytest
from anomalib.data import MVTecAD
from omegaconf import OmegaConf
from PIL import Image

from benchmarks import growth, runner
from benchmarks.images import image_files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A category `c` in MVTec AD layout: 3 normal images to train on, 2 and 2 to test on, higher than wide."""
    for name in ("train/good/0", "train/good/1", "train/good/2", "test/good/0", "test/good/1"):
        write(tmp_path / "data" / "c" / f"{name}.png", len(name) + int(name[-1]))
    for number in (0, 1):
        write(tmp_path / "data" / "c" / "test" / f"bad{number}" / "0.png", number)
        write(tmp_path / "data" / "c" / "ground_truth" / f"bad{number}" / "0_mask.png", 9 + number)
    return tmp_path / "data"


def write(path: Path, seed: int) -> None:
    """Write an image of random pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 32, 3), dtype=np.uint8)).save(path)


def pixels(path: Path | str) -> np.ndarray:
    """Read an image."""
    return np.asarray(Image.open(path))


def loaded(root: Path, category: str) -> MVTecAD:
    """A category's data module, set up."""
    module = MVTecAD(root=root, category=category, num_workers=0)
    module.setup()
    return module


def test_a_larger_set_has_different_images_and_the_same_tests(root: Path, tmp_path: Path) -> None:
    growth.write_set(loaded(root, "c"), 60, tmp_path / "made" / "large")
    made = image_files(tmp_path / "made" / "large" / "train")
    assert len({pixels(path).tobytes() for path in made}) == len(made) == 60
    for path, first in zip(image_files(root / "c" / "train"), made, strict=False):
        np.testing.assert_array_equal(pixels(path), pixels(first))
    before, after = (
        loaded(place, name).test_data.samples for place, name in ((root, "c"), (tmp_path / "made", "large"))
    )
    assert {content(row) for row in before.itertuples()} == {content(row) for row in after.itertuples()}


def content(row) -> tuple[int, bytes, bytes]:
    """Label, image and mask of a test image, as they are in the files."""
    mask = Path(row.mask_path).read_bytes() if row.label_index else b""
    return row.label_index, Path(row.image_path).read_bytes(), mask


def test_a_part_of_an_image_is_enlarged_to_its_size() -> None:
    ramp = Image.fromarray(np.tile(np.arange(100, dtype=np.uint8), (80, 1)))
    part = np.asarray(growth.altered(ramp, 8)).astype(float)
    assert part.shape == (80, 100)
    assert np.diff(part[40, 5:-5]).mean() == pytest.approx(growth.CROP, abs=0.02)


def test_every_model_is_timed_on_every_set_up_to_its_limit(root: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    jobs = []

    def process(folder: Path, environment: dict[str, str]) -> bool:
        job = OmegaConf.load(folder / "job.yaml")
        normals = image_files(Path(job.data.root) / job.set / "train")
        jobs.append((job.model, len(normals), job.latency, environment.get("MALLOC_MMAP_THRESHOLD_")))
        row = {"set": job.set, "model": job.model, "seed": job.seed, **dict.fromkeys(growth.MEASURED, len(normals))}
        (folder / "row.json").write_text(json.dumps(row))
        return True

    monkeypatch.setattr(runner, "process", process)
    monkeypatch.setattr(growth, "LIMITS", {"patchcore": 4})
    arguments = ["--data-root", str(root), "--category", "c", "--output", str(tmp_path / "out"), "--counts", "4", "9"]
    for models in (["i3ad", "patchcore"], ["stcm", "i3ad", "patchcore"]):
        assert growth.grow(growth.parser().parse_args([*arguments, "--models", *models])) == []
    assert jobs == [
        ("i3ad", 4, True, None),
        ("patchcore", 4, True, "1048576"),
        ("i3ad", 9, True, None),
        ("stcm", 4, True, None),
        ("stcm", 9, True, None),
    ]
    assert "| i3ad | c/4 | 4.0 | 4.0 | 4.0 | 4.0 |\n| i3ad | c/9 | 9.0 |" in capsys.readouterr().out
    command = json.loads((tmp_path / "out" / "manifest.json").read_text())["command"]
    assert command.startswith("python -m benchmarks.growth")
    write(root / "c" / "train" / "good" / "3.png", seed=3)
    with pytest.raises(ValueError, match="The images of c are not those of the results"):
        growth.grow(growth.parser().parse_args(arguments))
