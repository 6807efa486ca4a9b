"""Environments are made once a session: each import of the host costs seconds."""

import subprocess
import sys
from pathlib import Path

import packages
import pytest
from throwaway import ROOT, Environment, clean, link_host


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return link_host(tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, env=clean(), check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, host: Path, wheel: Path) -> Environment:
    """The wheel beside a good, a broken and a clashing package."""
    environment = Environment(tmp_path_factory.mktemp("installed"), host)
    environment.install(str(wheel))
    environment.add_package("shop", **packages.GOOD)
    environment.add_package("broken", **packages.BROKEN)
    environment.add_package("twin", **packages.TWIN)
    return environment


@pytest.fixture(scope="session")
def editable(tmp_path_factory: pytest.TempPathFactory, host: Path) -> Environment:
    environment = Environment(tmp_path_factory.mktemp("editable"), host)
    environment.install("--editable", str(ROOT))
    return environment
