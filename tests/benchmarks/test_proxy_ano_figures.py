"""The programs that measure ProxyAno's own claims run, and say what they should of a small set."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from anomalib_stc.data.demo_set import Recipe, write_demo_set
from anomalib_stc.models import ProxyAno
from benchmarks import pasted, proxy_time
from tests.small_sets import keep


@pytest.fixture(scope="module")
def category(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_demo_set(tmp_path_factory.mktemp("data"), Recipe("gravel", 64, 0))
    keep(folder, test=20, train=20)
    return folder


def test_pasted(category: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--data-root", str(category.parent), "--categories", category.name, "--output", str(tmp_path / "t.csv")]
    pasted.main([*where, "--seeds", "0", "--image-size", "64", "--train-images", "16"])
    table = pd.read_csv(tmp_path / "t.csv")
    assert table[["pseudo", "patch_from"]].values.tolist() == [
        [p, s] for p in (True, False) for s in ("image", "batch")
    ]
    assert (table["inside"] > 0).all()
    assert torch.tensor(table["ratio"]).allclose(torch.tensor(table["inside"] / table["outside"]), rtol=1e-2)
    assert "ratio" in capsys.readouterr().out


def test_a_residual_that_is_all_inside_is_found_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """White patches of the next image on a black one, and a model that sees brightness."""
    model = ProxyAno(image_size=64, backbone="none").eval()
    monkeypatch.setattr(model.model, "infer", lambda image: SimpleNamespace(reconstruction=torch.zeros_like(image)))
    normals = torch.stack([torch.zeros(3, 64, 64), torch.ones(3, 64, 64)])
    inside, outside = pasted.residuals(model, normals, "batch")
    assert inside == pytest.approx(0.5, abs=0.1)  # white on black, then black on white
    assert outside == pytest.approx(0.5, abs=0.1)
    inside, outside = pasted.residuals(model, normals[:1], "image")
    assert inside == outside == 0


def test_proxy_time(category: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--data-root", str(category.parent), "--category", category.name]
    proxy_time.main([*where, "--image-size", "64", "--epochs", "2"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    shares = [float(line.split()[2].rstrip("%")) for line in lines]
    assert len(shares) == 2
    assert 0 < shares[1] < shares[0] < 100
