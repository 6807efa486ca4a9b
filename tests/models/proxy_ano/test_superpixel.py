"""Segments are computed once for every content, in memory and in a folder that survives a kill."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from anomalib_stc.models.proxy_ano import superpixel
from anomalib_stc.models.proxy_ano.superpixel import SegmentCache


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the images that were really segmented."""
    calls: list[tuple[int, ...]] = []
    real: Any = superpixel.slic

    def slic(image: np.ndarray, *args: Any, **kwargs: Any) -> np.ndarray:
        calls.append(image.shape)
        return real(image, *args, **kwargs)

    monkeypatch.setattr(superpixel, "slic", slic)
    return calls


def noise(seed: int, size: tuple[int, int] = (32, 48)) -> Tensor:
    return torch.rand(3, *size, generator=torch.Generator().manual_seed(seed))


def test_the_same_content_is_segmented_once(counted: list[Any]) -> None:
    segments = SegmentCache(10, 10.0)
    first = segments(noise(0))
    assert torch.equal(segments(noise(0).clone()), first)
    segments(noise(1))
    assert counted == [(32, 48, 3), (32, 48, 3)]


def test_every_pixel_has_a_segment() -> None:
    segments = SegmentCache(12, 10.0)(noise(0))
    assert segments.shape == (32, 48)
    assert segments.unique().tolist() == list(range(int(segments.max()) + 1))


def test_a_folder_serves_the_next_run(counted: list[Any], tmp_path: Path) -> None:
    first = SegmentCache(10, 10.0, tmp_path / "kept")(noise(0))
    again = SegmentCache(10, 10.0, str(tmp_path / "kept"))(noise(0))
    assert torch.equal(first, again)
    assert len(counted) == 1
    assert len(list((tmp_path / "kept").iterdir())) == 1


@pytest.mark.parametrize("other", [(11, 10.0), (10, 20.0)])
def test_other_settings_share_no_file(other: tuple[int, float], counted: list[Any], tmp_path: Path) -> None:
    SegmentCache(10, 10.0, tmp_path)(noise(0))
    SegmentCache(*other, tmp_path)(noise(0))
    assert len(counted) == 2


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00"])
def test_a_spoilt_file_is_made_anew(content: bytes, tmp_path: Path) -> None:
    first = SegmentCache(10, 10.0, tmp_path)(noise(0))
    (path,) = tmp_path.iterdir()
    path.write_bytes(content)
    assert torch.equal(SegmentCache(10, 10.0, tmp_path)(noise(0)), first)
    assert np.array_equal(np.load(path), first.numpy())


def test_a_kill_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        SegmentCache(10, 10.0, tmp_path)(noise(0))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"Superpixels cannot be kept in .*: give a folder that can be written\.$"):
        SegmentCache(10, 10.0, tmp_path / "file")(noise(0))


def test_memory_has_a_limit(monkeypatch: pytest.MonkeyPatch, counted: list[Any]) -> None:
    """Augmented images never come back: their segments must not pile up."""
    monkeypatch.setattr(superpixel, "KEPT", 2)
    segments = SegmentCache(10, 10.0)
    for seed in (0, 1, 2, 3, 0):
        segments(noise(seed))
    assert len(segments.known) == 2
    assert len(counted) == 4


def test_a_folder_has_a_limit(
    monkeypatch: pytest.MonkeyPatch, counted: list[Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of all processes and runs together; what is in it serves on, what is new is made and not kept."""
    monkeypatch.setattr(superpixel, "FILES", 3)
    kept = tmp_path / "kept"
    other, segments = SegmentCache(20, 10.0, kept), SegmentCache(10, 10.0, kept)
    other(noise(0))
    for seed in (0, 1, 2, 3):
        assert segments(noise(seed)).shape == (32, 48)
    assert len(list(kept.iterdir())) == 3
    assert len(counted) == 5
    told = [record.getMessage() for record in caplog.records]
    assert told == [f"{kept} holds 3 superpixel files, the most that are kept: empty it if they are of no more use."]
    again = SegmentCache(10, 10.0, kept)
    for seed in (0, 2):
        again(noise(seed))
    assert len(counted) == 6


def test_a_folder_takes_a_set_of_ten_thousand_and_no_more_than_two_gigabytes() -> None:
    """At 256 px; int16 and numpy's header."""
    assert 10_000 < superpixel.FILES <= 2**31 / (256 * 256 * 2)


def test_a_pickle_carries_no_segments() -> None:
    segments = SegmentCache(10, 10.0)
    first = segments(noise(0))
    copied = pickle.loads(pickle.dumps(segments))
    assert copied.known == {}
    assert torch.equal(copied(noise(0)), first)
