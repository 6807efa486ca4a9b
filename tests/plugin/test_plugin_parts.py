"""The parts that act on modules and parsers: the start-up hook, the first use, the names for jsonargparse."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from jsonargparse import ArgumentParser, _typehints
from throwaway import HOOK, ROOT

from anomalib_stc.plugin import attach, name_resolver, wrong_arguments
from anomalib_stc.plugin.first_use import on_first_use


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The start-up module, made to wait for a module ``waited_for`` that counts its executions."""
    spec = importlib.util.spec_from_file_location("hook_under_test", ROOT / "startup" / f"{HOOK}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.TARGET = "waited_for"
    (tmp_path / "waited_for.py").write_text("import fractions\ncount = globals().get('count', 0) + 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.delenv("ANOMALIB_STC_AUTOLOAD", raising=False)
    yield module
    sys.modules.pop("waited_for", None)


def hooks(hook: ModuleType) -> int:
    return [type(finder) for finder in sys.meta_path].count(hook.ModelsHook)


class TestHook:
    def test_hands_the_executed_module_over_once(self, hook: ModuleType, monkeypatch) -> None:
        given = []
        monkeypatch.setattr("anomalib_stc.plugin.attach", lambda module: given.append((module, module.count)))
        hook.install()
        hook.install()
        assert hooks(hook) == 1
        module = importlib.import_module("waited_for")
        assert given == [(module, 1)]
        assert hooks(hook) == 0
        assert "exec_module" not in vars(module.__loader__)
        importlib.reload(module)
        assert len(given) == 1

    def test_looking_for_the_module_does_not_use_the_hook_up(self, hook: ModuleType, monkeypatch) -> None:
        given = []
        monkeypatch.setattr("anomalib_stc.plugin.attach", given.append)
        hook.install()
        assert importlib.util.find_spec("waited_for").name == "waited_for"
        assert given == []
        assert [importlib.import_module("waited_for")] == given

    def test_a_failed_import_of_the_host_is_the_hosts_own_error(self, hook: ModuleType, tmp_path, monkeypatch) -> None:
        given = []
        monkeypatch.setattr("anomalib_stc.plugin.attach", given.append)
        (tmp_path / "waited_for.py").write_text("1 / 0")
        hook.install()
        with pytest.raises(ZeroDivisionError):
            importlib.import_module("waited_for")
        assert given == []
        assert hooks(hook) == 1

    def test_an_absent_host_stays_absent(self, hook: ModuleType) -> None:
        hook.TARGET = "absent_host"
        hook.install()
        with pytest.raises(ModuleNotFoundError, match="absent_host"):
            importlib.import_module("absent_host")

    def test_a_plugin_that_fails_warns_and_never_raises(self, hook: ModuleType, monkeypatch, caplog) -> None:
        monkeypatch.setattr("anomalib_stc.plugin.attach", lambda module: 1 / 0)
        hook.install()
        importlib.import_module("waited_for")
        assert "ZeroDivisionError: division by zero" in caplog.text
        assert "ANOMALIB_STC_AUTOLOAD=0" in caplog.text

    @pytest.mark.parametrize("folder_left", [False, True])
    def test_a_plugin_that_is_gone_is_silent(self, hook, monkeypatch, caplog, folder_left: bool) -> None:
        monkeypatch.delitem(sys.modules, "anomalib_stc.plugin")
        monkeypatch.setattr(sys, "path", [])
        if folder_left:
            monkeypatch.setattr(sys.modules["anomalib_stc"], "__path__", [])
        else:
            monkeypatch.delitem(sys.modules, "anomalib_stc")
        hook.hand_over(ModuleType("waited_for"))
        assert caplog.text == ""

    @pytest.mark.parametrize("value", ["0", "false", "No", "off"])
    def test_the_switch(self, hook: ModuleType, monkeypatch, value: str) -> None:
        monkeypatch.setenv("ANOMALIB_STC_AUTOLOAD", value)
        hook.install()
        assert hooks(hook) == 0

    def test_a_host_imported_before_is_left_alone(self, hook: ModuleType) -> None:
        importlib.import_module("waited_for")
        hook.install()
        assert hooks(hook) == 0


class TestFirstUse:
    def test_loads_before_the_first_public_read_only(self) -> None:
        module, calls = ModuleType("module"), []

        def load() -> bool:
            calls.append(1)
            module.late = "loaded"
            return True

        on_first_use(module, load)
        assert module.__name__ == "module"
        assert vars(module).keys() >= {"__name__"}
        assert calls == []
        assert module.late == module.late == "loaded"
        assert calls == [1]
        assert type(module) is ModuleType

    def test_keeps_asking_until_done(self) -> None:
        module, answers = ModuleType("module"), [False, False, True]
        module.value = 7
        on_first_use(module, lambda: answers.pop(0))
        assert [module.value, module.value, module.value, module.value] == [7, 7, 7, 7]
        assert answers == []

    def test_load_may_read_the_module(self) -> None:
        module = ModuleType("module")
        module.value = 7
        waiting = [1]

        def load() -> bool:
            if waiting:
                waiting.pop()
                module.doubled = module.value * 2
            return not waiting

        on_first_use(module, load)
        assert module.doubled == 14


class Net:
    """Stands for AnomalibModule."""


class DeepNet(Net):
    """A model.

    Args:
        width: A number.
    """

    def __init__(self, width: int = 1) -> None:
        self.width = width


class Other:
    """A type of another program."""


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of ``Net`` for this test: ``deep_net`` is known."""
    monkeypatch.setattr(_typehints, "resolve_class_path_by_name", _typehints.resolve_class_path_by_name)
    name_resolver.resolve_names(Net, {"deep_net": f"{__name__}.DeepNet"}.get)


def parser_of(wanted: type) -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(wanted, "model")
    return parser


@pytest.mark.usefixtures("resolver")
class TestNames:
    @pytest.mark.parametrize("name", ["deep_net", "DeepNet", f"{__name__}.DeepNet"])
    def test_a_known_name_becomes_the_class_path(self, name: str) -> None:
        config = parser_of(Net).parse_args(["--model", name, "--model.width", "3"])
        assert config.model.class_path == f"{__name__}.DeepNet"
        assert config.model.init_args.width == 3

    def test_an_unknown_name_fails_as_before(self) -> None:
        with pytest.raises(Exception, match="dot import path string: shallow_net"):
            parser_of(Net).parse_args(["--model", "shallow_net"])

    def test_other_types_are_not_touched(self) -> None:
        with pytest.raises(Exception, match="dot import path string: deep_net"):
            parser_of(Other).parse_args(["--model", "deep_net"])

    def test_help_takes_the_name(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as end:
            parser_of(Net).parse_args(["--model.help", "deep_net"])
        assert end.value.code == 0
        assert "--model.width" in capsys.readouterr().out


def test_a_jsonargparse_without_the_resolver_gives_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(_typehints, "resolve_class_path_by_name")
    with pytest.warns(UserWarning, match="class name or class path only"):
        name_resolver.resolve_names(Net, {}.get)


def test_a_jsonargparse_without_the_list_gives_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(_typehints, "raise_union_unexpected_value")
    with pytest.warns(UserWarning, match="look under 'Errors'"):
        wrong_arguments.raise_own_sentences()


def test_attach_joins_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_typehints, "raise_union_unexpected_value", _typehints.raise_union_unexpected_value)
    monkeypatch.setattr(_typehints, "resolve_class_path_by_name", _typehints.resolve_class_path_by_name)
    monkeypatch.setattr("anomalib_stc.plugin.registry.entry_points", lambda group: [])
    models = ModuleType("host.models")
    models.AnomalibModule = Net
    attach(models)
    assert type(models) is not ModuleType
    assert models.AnomalibModule is Net
    assert type(models) is ModuleType
    assert _typehints.resolve_class_path_by_name(Net, "deep_net") == "deep_net"
