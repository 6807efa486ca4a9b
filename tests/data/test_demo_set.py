"""The writer: layout, determinism, and that no half set is ever seen."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalib_stc.data import demo_set
from anomalib_stc.data.demo_set import Recipe, write_demo_set

RECIPE = Recipe("gravel", 64, 0)


def _pixels(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


def _write_slowly(folder: Path, recipe: Recipe, *, meet: threading.Barrier) -> None:
    (folder / "image.png").write_bytes(b"the same")
    meet.wait(timeout=10)


def test_layout(demo_root: Path) -> None:
    folder = write_demo_set(demo_root, RECIPE)
    counts = {str(path.relative_to(folder)): len(list(path.glob("*.png"))) for path in folder.glob("*/*")}
    assert counts == {
        "train/good": 60,
        "val/good": 20,
        "test/good": 30,
        "test/foreign": 10,
        "test/perlin": 10,
        "test/scar": 10,
        "ground_truth/foreign": 10,
        "ground_truth/perlin": 10,
        "ground_truth/scar": 10,
    }
    for mask in folder.glob("ground_truth/*/*.png"):
        assert set(np.unique(np.asarray(Image.open(mask)))) == {0, 255}


def test_same_recipe_same_bytes_other_seed_other_bytes(demo_root: Path, tmp_path: Path) -> None:
    first = _pixels(write_demo_set(demo_root, RECIPE))
    assert _pixels(write_demo_set(tmp_path, RECIPE)) == first
    assert _pixels(write_demo_set(tmp_path, replace(RECIPE, seed=1))) != first


def test_no_image_repeats(demo_root: Path) -> None:
    images = [data for name, data in _pixels(write_demo_set(demo_root, RECIPE)).items() if "ground" not in name]
    assert len(set(images)) == len(images) == 140


def test_every_argument_has_its_own_folder() -> None:
    recipes = [RECIPE, replace(RECIPE, category="brick"), replace(RECIPE, crop_size=65), replace(RECIPE, seed=1)]
    assert len({recipe.folder for recipe in recipes}) == 4


def test_second_call_reads_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_set, "_write", lambda folder, _: (folder / "once").touch())
    folder = write_demo_set(tmp_path, RECIPE)
    monkeypatch.setattr(demo_set, "_write", None)  # a call would fail
    assert write_demo_set(tmp_path, RECIPE) == folder


def test_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(folder: Path, _: Recipe) -> None:
        (folder / "half").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_set, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_demo_set(tmp_path, RECIPE)
    assert list(tmp_path.iterdir()) == []


def test_killed_write_is_not_taken_for_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f".{RECIPE.folder}-killed" / "train").mkdir(parents=True)
    monkeypatch.setattr(demo_set, "_write", lambda folder, _: (folder / "whole").touch())
    assert (write_demo_set(tmp_path, RECIPE) / "whole").is_file()


def test_two_writers_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meet = threading.Barrier(2)
    monkeypatch.setattr(demo_set, "_write", lambda *arguments: _write_slowly(*arguments, meet=meet))
    found: list[Path] = []
    writers = [threading.Thread(target=lambda: found.append(write_demo_set(tmp_path, RECIPE))) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert found == [tmp_path / RECIPE.folder] * 2
    assert list(tmp_path.iterdir()) == [tmp_path / RECIPE.folder]


def test_unwritable_root_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"^Cannot write the demo set to .*: give a writable folder as --data\.root\.$"):
        write_demo_set(tmp_path / "file", RECIPE)
