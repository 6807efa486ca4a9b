"""Which declared models are added, in this process, with made-up modules and entry points."""

import sys
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from anomalib_stc.plugin import GROUP, ModelRegistry, registry
from anomalib_stc.plugin.names import fold, full_name, public_names


class Base:
    """Stands for AnomalibModule."""


class BuiltIn(Base):
    """Stands for a model of the host."""


class DeepNet(Base):
    """A model to add."""


@pytest.fixture
def models() -> ModuleType:
    module = ModuleType("host.models")
    module.AnomalibModule, module.BuiltIn, module.image = Base, BuiltIn, ModuleType("host.models.image")
    return module


@pytest.fixture
def make(models: ModuleType, monkeypatch: pytest.MonkeyPatch):
    """Return a function that makes a registry for declared names, all found in the module ``plug``."""
    plug = ModuleType("plug")
    plug.DeepNet, plug.Base, plug.number = DeepNet, Base, 3
    plug.__spec__ = ModuleSpec("plug", None)
    monkeypatch.setitem(sys.modules, "plug", plug)

    def build(**entries: str) -> ModelRegistry:
        found = [EntryPoint(name, value, GROUP) for name, value in entries.items()]
        monkeypatch.setattr(registry, "entry_points", lambda group: found if group == GROUP else [])
        return ModelRegistry(models)

    return build


@pytest.mark.parametrize("name", ["edge_bank", "edgebank", "EdgeBank", "Edge-Bank", "EDGE_BANK"])
def test_spellings_of_one_name(name: str) -> None:
    assert fold(name) == "edgebank"


def test_public_names_leave_private_ones_out(models: ModuleType) -> None:
    assert public_names(models) == {"anomalibmodule": Base, "builtin": BuiltIn, "image": models.image}


@pytest.mark.parametrize(
    ("value", "name"), [(EntryPoint, "importlib.metadata.EntryPoint"), (sys, "sys"), (3, "3"), (fold, None)]
)
def test_full_name(value: object, name: str | None) -> None:
    assert full_name(value) == (name or "anomalib_stc.plugin.names.fold")


def test_a_model_is_set_on_the_host_and_known_by_both_its_names(models: ModuleType, make) -> None:
    one = make(short="plug:DeepNet")
    assert one.load()
    assert models.DeepNet is DeepNet
    assert one.class_path("SHORT") == one.class_path("deep_net") == "plug.DeepNet"
    assert one.class_path("other") is None


@pytest.mark.parametrize(
    ("entries", "cause"),
    [
        ({"builtin": "nowhere:DeepNet"}, "taken by test_plugin_registry.BuiltIn, so nowhere.DeepNet answers"),
        ({"mine": "nowhere:Built_In"}, "taken by test_plugin_registry.BuiltIn"),
        ({"image": "plug:DeepNet"}, "taken by host.models.image"),
        ({"gone": "nowhere:DeepNet"}, "ModuleNotFoundError: No module named 'nowhere'"),
        ({"gone": "plug:Missing"}, "AttributeError"),
        ({"number": "plug:number"}, "plug.number is not a subclass of AnomalibModule"),
        ({"odd": "not an entry point"}, "Error"),
    ],
)
def test_a_bad_model_is_left_out_with_one_warning(models: ModuleType, make, entries: dict, cause: str) -> None:
    before = dict(vars(models))
    one = make(**entries)
    with pytest.warns(UserWarning, match="anomalib goes on without the model") as caught:
        assert one.load()
    assert one.load()
    assert len(caught) == 1
    message = str(caught[0].message)
    assert cause in message
    assert repr(next(iter(entries))) in message
    assert "ANOMALIB_STC_AUTOLOAD=0" in message
    assert vars(models) == before
    assert one.paths == {}


def test_the_class_name_counts_where_the_entry_has_another(models: ModuleType, make, monkeypatch) -> None:
    monkeypatch.setattr(sys.modules["plug"], "Alias", type("BuiltIn", (Base,), {}), raising=False)
    one = make(mine="plug:Alias")
    with pytest.warns(UserWarning, match="taken by test_plugin_registry.BuiltIn"):
        one.load()
    assert models.BuiltIn is BuiltIn


def test_a_host_that_has_the_model_already_gives_no_warning(models: ModuleType, make, recwarn) -> None:
    models.DeepNet = DeepNet
    one = make(deep_net="plug:DeepNet")
    assert one.load()
    assert not recwarn
    assert one.class_path("deep_net") == "plug.DeepNet"


def test_a_second_package_does_not_replace_the_first(models: ModuleType, make, monkeypatch) -> None:
    monkeypatch.setattr(sys.modules["plug"], "Second", type("DeepNet", (Base,), {}), raising=False)
    one = make(a="plug:DeepNet", b="plug:Second")
    with pytest.warns(UserWarning, match="'b'.*taken by test_plugin_registry.DeepNet"):
        one.load()
    assert models.DeepNet is DeepNet


def test_warnings_made_errors_stop_nothing(models: ModuleType, make, caplog: pytest.LogCaptureFixture) -> None:
    one = make(gone="nowhere:DeepNet", fine="plug:DeepNet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.filters", [("error", None, Warning, None, 0)])
        assert one.load()
    assert "without the model 'gone'" in caplog.text
    assert models.DeepNet is DeepNet


@pytest.mark.parametrize("half_made", ["plug", "anomalib", "anomalib.half_made"])
def test_a_model_waits_for_a_running_import(models: ModuleType, make, monkeypatch, half_made: str) -> None:
    module = sys.modules.get(half_made) or ModuleType(half_made)
    spec = ModuleSpec(half_made, None)
    spec._initializing = True
    monkeypatch.setattr(module, "__spec__", spec, raising=False)
    monkeypatch.setitem(sys.modules, half_made, module)
    one = make(deep_net="plug:DeepNet")
    assert not one.load()
    assert not hasattr(models, "DeepNet")
    spec._initializing = False
    assert one.class_path("deep_net") == "plug.DeepNet"
    assert models.DeepNet is DeepNet


def test_the_real_group_names_this_package() -> None:
    assert {entry.name: entry.value for entry in registry.declared()}["stcm"] == "anomalib_stc.models:Stcm"
