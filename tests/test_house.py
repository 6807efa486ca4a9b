"""Rooms import one way: models from host and parts, host from parts, parts from nothing of ours."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "anomalib_stc"
MODELS = ("stcm", "proxy_ano", "i3ad")
OURS = {"anomalib_stc", "benchmarks", "tests"}
ALLOWED = {
    "parts": {"parts"},
    "host": {"host", "parts"},
    "data": {"data"},
    "plugin": {"plugin"},
    **{f"models.{name}": {f"models.{name}", "host", "parts"} for name in MODELS},
}


def imported(path: Path) -> Iterator[str]:
    """Yield the modules of this package that a file imports, without the package's name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: a relative import hides where it goes"
            names = (
                [node.module or ""]
                if node.module != "anomalib_stc"
                else [f"{node.module}.{a.name}" for a in node.names]
            )
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        yield from (name.removeprefix("anomalib_stc.") for name in names if name.split(".")[0] in OURS)


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_what_is_below_it(room: str) -> None:
    files = list((PACKAGE / room.replace(".", "/")).glob("*.py"))
    assert len(files) > 3
    for path in files:
        for name in imported(path):
            assert any(f"{name}.".startswith(f"{allowed}.") for allowed in ALLOWED[room]), f"{path.name}: {name}"
