"""The installed plugin in fresh processes: what a user gets without importing it."""

from pathlib import Path

import pytest
from throwaway import PROGRAMS, Environment

STCM = "anomalib_stc.models.Stcm"
BANK = "shop.nets.EdgeBank"
SWITCH = "ANOMALIB_STC_AUTOLOAD"


@pytest.fixture(scope="module")
def forms(installed: Environment, tmp_path_factory: pytest.TempPathFactory) -> dict:
    return installed.facts(PROGRAMS / "host_forms.py", cwd=tmp_path_factory.mktemp("forms"))


def test_models_are_imported_from_where_anomalibs_own_are(installed: Environment, tmp_path: Path) -> None:
    facts = installed.facts(PROGRAMS / "image_form.py", cwd=tmp_path)
    assert (facts["stcm"], facts["edge_bank"], facts["padim"]) == (STCM, BANK, "Padim")


class TestNames:
    def test_list_models_shows_every_loaded_model(self, forms: dict) -> None:
        assert {"stcm", "edge_bank", "q3_a_d", "padim"} <= set(forms["listed"])

    def test_get_model_by_string(self, forms: dict) -> None:
        assert forms["by_string"] == {
            "stcm": "Stcm",
            "Stcm": "Stcm",
            "STCM": "Stcm",
            "edge_bank": "EdgeBank",
            "edgebank": "EdgeBank",
            "EdgeBank": "EdgeBank",
            "q3ad": "Q3AD",
            "Q3AD": "Q3AD",
        }

    def test_get_model_by_class_path_as_the_benchmark_asks(self, forms: dict) -> None:
        assert forms["by_class_path"] == ["Stcm", "EdgeBank", "Q3AD"]
        assert forms["benchmark"] == "Stcm"

    def test_command_line_writes_the_full_class_path(self, forms: dict) -> None:
        stcm = dict.fromkeys(["stcm", "Stcm", "STCM", STCM], STCM)
        bank = dict.fromkeys(["edge_bank", "edgebank", "EdgeBank"], BANK)
        assert forms["cli"] == stcm | bank | dict.fromkeys(["q3ad", "Q3AD"], "shop.q3ad.Q3AD")
        assert forms["class_path_key"] == STCM
        assert forms["cli_model"] == "Stcm"

    def test_every_subcommand_takes_the_name(self, forms: dict) -> None:
        assert forms["subcommands"] == dict.fromkeys(["train", "fit", "validate", "test", "predict", "export"], STCM)

    def test_configs_are_read_back(self, forms: dict) -> None:
        assert forms["read_back"]
        assert forms["saved"] == forms["saved_read_back"] == STCM

    def test_help_by_name(self, forms: dict) -> None:
        assert BANK in forms["help"]
        assert "--model.width" in forms["help"]

    def test_from_config(self, forms: dict) -> None:
        assert forms["from_config"] == ["EdgeBank", "Stcm"]
        assert forms["from_config_width"] == 5


class TestBadNeighbours:
    def test_broken_models_give_one_warning_each(self, forms: dict) -> None:
        causes = {
            "broken_net": "No module named 'a_library_that_is_not_there'",
            "quitter": "SystemExit: 3",
            "no_model": "broken.__name__ is not a subclass of AnomalibModule",
        }
        for name, cause in causes.items():
            lines = [line for line in forms["stderr"].splitlines() if f"model {name!r} of the package broken" in line]
            assert len(lines) == 1, forms["stderr"]
            assert cause in lines[0]
            assert f"{SWITCH}=0" in lines[0]

    @pytest.mark.parametrize(
        ("name", "holder", "loser"),
        [
            ("padim", "anomalib.models.image.padim.lightning_model.Padim", "twin.nets.OtherPadim"),
            ("image", "anomalib.models.image", "twin.nets.Image"),
            ("EdgeBank", BANK, "twin.bank.EdgeBank"),
        ],
    )
    def test_a_taken_name_is_kept(self, forms: dict, name: str, holder: str, loser: str) -> None:
        lines = [line for line in forms["stderr"].splitlines() if f"model {name!r} of the package" in line]
        assert len(lines) == 1, forms["stderr"]
        assert f"taken by {holder}, so {loser} answers" in lines[0]

    def test_the_built_in_stays(self, forms: dict) -> None:
        assert forms["padim"]
        assert forms["builtin"] == "anomalib.models.Padim"
        assert forms["twin"] == []


def test_the_hook_is_gone_after_its_one_use(forms: dict) -> None:
    assert forms["hook_left"] == 0


def test_a_spawned_worker_finds_the_models(installed: Environment, tmp_path: Path) -> None:
    facts = installed.facts(PROGRAMS / "spawned.py", cwd=tmp_path)
    assert {"stcm", "edge_bank", "q3_a_d"} <= set(facts["listed"])
    assert facts["same"]
    assert facts["parent"] == []


@pytest.mark.parametrize("way", ["switched off", "python -S"])
def test_without_the_hook_full_class_paths_work(installed: Environment, tmp_path: Path, way: str) -> None:
    path = f"{installed.site}:{installed.host}"
    off = way == "switched off"
    option, variables = ("-B", {SWITCH: "0"}) if off else ("-S", {"PYTHONPATH": path})
    facts = installed.facts(option, PROGRAMS / "full_path.py", cwd=tmp_path, **variables)
    assert facts["hook"] is off
    assert "stcm" not in facts["listed_before"]
    assert "edge_bank" not in facts["listed_before"]
    assert facts["model"] == "Stcm"
    assert "stcm" in facts["listed_after"]
    assert "anomalib goes on without" not in facts["stderr"]


def test_editable_install_serves_the_command_line(editable: Environment, tmp_path: Path) -> None:
    program = "from anomalib.cli.cli import main; main()"
    done = editable.run("-c", program, "train", "--model", "stcm", "--print_config", cwd=tmp_path)
    assert f"class_path: {STCM}" in done.stdout
    assert "anomalib goes on without" not in done.stderr
