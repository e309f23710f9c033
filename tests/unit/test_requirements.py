"""The versions that scripts/setup.sh installs (scripts/requirements.txt) fit what setup.cfg declares."""

import configparser
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "scripts/requirements.txt").read_text(encoding="utf-8")
LOCKED = [
    (Requirement(head), block) for head, block in re.findall(r"^([^\s#].*) \\\n((?:    --hash=.*\n?)+)", TEXT, re.M)
]
CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg", encoding="utf-8")
EXTRAS = CONFIG["options.extras_require"]
DECLARED = [
    Requirement(line)
    for lines in (CONFIG["options"]["install_requires"], EXTRAS["chinese"], EXTRAS["dev"])
    for line in lines.splitlines()
    if line and not line.startswith("#") and not line.startswith("torch>")
]


def test_every_line_is_a_version_with_hashes() -> None:
    heads = [line for line in TEXT.splitlines() if not line.startswith((" ", "#"))]
    assert len(heads) == len(LOCKED) > 100
    for requirement, hashes in LOCKED:
        assert [specifier.operator for specifier in requirement.specifier] == ["=="]
        assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line) for line in hashes.splitlines())


@pytest.mark.parametrize("python", ["3.10.0", "3.11.0", "3.12.0"])
def test_each_python_gets_one_version_of_what_it_needs(python: str) -> None:
    target = {
        **{"python_version": python.rpartition(".")[0], "python_full_version": python, "sys_platform": "linux"},
        **{"platform_machine": "x86_64", "platform_python_implementation": "CPython", "implementation_name": "cpython"},
    }

    def applies(requirement: Requirement) -> bool:
        return requirement.marker is None or requirement.marker.evaluate(target)

    chosen = [requirement for requirement, _ in LOCKED if applies(requirement)]
    versions = {requirement.name: next(iter(requirement.specifier)).version for requirement in chosen}
    assert len(versions) == len(chosen)
    for requirement in filter(applies, DECLARED):
        assert requirement.specifier.contains(versions[requirement.name.lower()], prereleases=True), requirement
