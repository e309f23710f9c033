"""What `pip install weightdistill` gives: the project's wheel, installed and run outside the project's folder."""

import zipfile
from pathlib import Path

import pytest
from commands import ROOT
from installing import run_installed

import weightdistill

pytestmark = pytest.mark.slow

PACKAGES = ("fairseq_plugins", "weightdistill")
FOR_CHECKOUTS = {"lock.sh", "quickstart.sh", "release.sh", "reproduce.sh", "setup.sh", "test.sh"}
CONFIG = ROOT / "experiments/toy/config.yaml"


def test_the_wheel_holds_every_module_and_what_a_run_needs_and_no_more(installed: Path) -> None:
    (wheel,) = installed.parents[2].glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    modules = {str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    templates = {str(path.relative_to(ROOT)) for path in (ROOT / "weightdistill/experiment/templates").iterdir()}
    stages = {path.name for path in (ROOT / "scripts").glob("*.sh")} - FOR_CHECKOUTS
    workflow = {"Snakefile", *(path.name for path in (ROOT / "experiments").glob("*.yaml"))}
    rules = {path.name for path in (ROOT / "experiments/rules").glob("*.smk")}
    assert packed == {
        *modules,
        *templates,
        *(f"weightdistill/scripts/{name}" for name in stages),
        *(f"weightdistill/experiments/{name}" for name in workflow),
        *(f"weightdistill/experiments/rules/{name}" for name in rules),
    }
    assert wheel.stat().st_size < 1_000_000


def test_the_command_says_its_versions_and_where_the_plugin_is(installed: Path, tmp_path: Path) -> None:
    assert (
        run_installed(installed, "--version", cwd=tmp_path).splitlines()[0]
        == f"weightdistill {weightdistill.__version__}"
    )
    plugin = Path(run_installed(installed, "plugin", cwd=tmp_path).strip())
    assert plugin.is_relative_to(installed.parents[1]) and plugin.name == "fairseq_plugins"
    assert (plugin / "tasks/distillation.py").exists()


def test_the_stages_run_in_the_environment_that_starts_them(installed: Path, tmp_path: Path) -> None:
    program = """
import subprocess
from weightdistill.installation import resources, stage_environment
stages, variables = resources() / "scripts", stage_environment()
shell = 'source "$0/common.sh"; command -v weightdistill; echo "${PYTHONPATH-unset}"'
subprocess.run(["bash", "-c", shell, stages], env=variables, check=True)
subprocess.run(["bash", stages / "prepare.sh", "--help"], env=variables, check=True)
"""
    printed = run_installed(installed.with_name("python"), "-c", program, cwd=tmp_path)
    command, path, *usage = printed.splitlines()
    assert command == str(installed)
    assert path == "unset", "modules of the package would be found in place of others"
    assert usage[0].startswith("Segment parallel text")


def test_the_installed_workflow_plans_a_whole_experiment(installed: Path, tmp_path: Path) -> None:
    python = installed.with_name("python")
    program = "from weightdistill.installation import resources; print(resources())"
    package = Path(run_installed(python, "-c", program, cwd=tmp_path).strip())
    assert package.is_relative_to(installed.parents[1])
    workflow = (installed.with_name("snakemake"), "--snakefile", package / "experiments/Snakefile", "--cores", 1)
    printed = run_installed(*workflow, "--configfile", CONFIG, "--dry-run", "--printshellcmds", cwd=tmp_path)
    for stage in ("prepare", "train_teacher", "train_student", "phase1", "phase2", "export", "evaluate", "benchmark"):
        assert f"bash {package}/scripts/{stage}.sh " in printed
    assert not (tmp_path / "raw").exists()
