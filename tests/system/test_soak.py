"""The soak test in miniature: a few of its trials, which need no root."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parent / "soak/run.py"


@pytest.mark.slow
def test_commands_that_were_killed_end_as_if_they_were_not(tmp_path: Path) -> None:
    subjects = [f"--subject={name}" for name in ("read-tmx", "clean", "cache-teacher")]
    limits = ["--work", tmp_path, "--kind", "kill", "--at-most", "5"]
    soak = subprocess.run([sys.executable, str(SOAK), *map(str, limits), *subjects], capture_output=True, text=True)
    assert soak.returncode == 0, soak.stdout + soak.stderr
    assert re.search(r"^\*\*Survived 5 of 5 trials\*\*", soak.stdout, re.MULTILINE)
