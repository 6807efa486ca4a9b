"""What the plugin does to a bare start of Python, and what it leaves behind."""

import sys
from pathlib import Path

import pytest
from throwaway import HOOK, PROGRAMS, Environment

SWITCH = "ANOMALIB_STC_AUTOLOAD"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, host: Path) -> dict:
    """An environment without the plugin."""
    environment = Environment(tmp_path_factory.mktemp("bare"), host)
    return environment.facts(PROGRAMS / "bare.py", cwd=tmp_path_factory.mktemp("cwd"))


@pytest.mark.parametrize("kind", ["installed", "editable"])
def test_a_bare_start_loads_one_tiny_module(kind: str, bare: dict, request: pytest.FixtureRequest, tmp_path) -> None:
    environment: Environment = request.getfixturevalue(kind)
    facts = environment.facts(PROGRAMS / "bare.py", cwd=tmp_path)
    assert set(facts["loaded"]) - set(bare["loaded"]) == {HOOK}
    assert facts["hooks"].count("ModelsHook") == 1
    assert facts["stderr"] == ""
    for suffix in (".py", ".pth", ".start"):
        assert (environment.site / f"{HOOK}{suffix}").is_file()


def test_the_switch_leaves_no_hook(installed: Environment, tmp_path: Path) -> None:
    facts = installed.facts(PROGRAMS / "bare.py", cwd=tmp_path, **{SWITCH: "0"})
    assert "ModelsHook" not in facts["hooks"]


def test_importing_the_package_imports_no_host(installed: Environment, tmp_path: Path) -> None:
    program = "import anomalib_stc, anomalib_stc.plugin, json, sys; print(json.dumps({'loaded': sorted(sys.modules)}))"
    loaded = installed.facts("-c", program, cwd=tmp_path)["loaded"]
    assert not {"torch", "anomalib", "jsonargparse", "numpy", "lightning"} & set(loaded)


@pytest.mark.parametrize("how", ["wheel", "editable"])
def test_uninstall_leaves_nothing(how: str, host: Path, wheel: Path, bare: dict, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "env", host)
    before = {path.name for path in environment.site.iterdir()}
    environment.install(*([str(wheel)] if how == "wheel" else ["--editable", str(PROGRAMS.parents[2])]))
    assert len({path.name for path in environment.site.iterdir()} - before) >= 4
    environment.run("-c", "pass", cwd=tmp_path)
    environment.pip("uninstall", "--yes", "anomalib-stc")
    left = {path.name for path in environment.site.iterdir()} - before
    assert {name for name in left if name != "__pycache__" or any((environment.site / name).iterdir())} == set()
    facts = environment.facts(PROGRAMS / "bare.py", cwd=tmp_path)
    assert facts == bare


def test_a_leftover_start_file_is_silent(host: Path, bare: dict, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "env", host)
    source = PROGRAMS.parents[2] / "startup" / f"{HOOK}.pth"
    (environment.site / source.name).write_text(source.read_text())
    assert environment.facts(PROGRAMS / "bare.py", cwd=tmp_path) == bare


@pytest.mark.skipif(sys.version_info < (3, 15), reason=".start files are read from Python 3.15 on (PEP 829)")
def test_the_start_file_alone_installs_the_hook(host: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "env", host)
    for suffix in (".py", ".start"):
        source = PROGRAMS.parents[2] / "startup" / f"{HOOK}{suffix}"
        (environment.site / source.name).write_text(source.read_text())
    assert "ModelsHook" in environment.facts(PROGRAMS / "bare.py", cwd=tmp_path)["hooks"]
