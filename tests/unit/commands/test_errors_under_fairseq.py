"""Errors of this project end a process of fairseq in one line; other errors keep their traceback."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import torch
from fairseq_plugins import errors
from weightdistill.errors import DistillationError

def fail(rank):
    try:
        raise DistillationError("no teacher;\\n  give one")
    except DistillationError:
        if sys.argv[2] == "other":
            1 / 0
        raise

if __name__ == "__main__":
    errors.install()
    errors.install()
    if sys.argv[1] == "child":
        torch.multiprocessing.spawn(fail, nprocs=1)
    fail(0)
"""


@pytest.mark.parametrize("process", ["parent", "child"])
def test_only_errors_of_this_project_are_one_line(tmp_path, process):
    (tmp_path / "program.py").write_text(PROGRAM)
    printed = {}
    for kind in ("ours", "other"):
        words = [sys.executable, str(tmp_path / "program.py"), process, kind]
        result = subprocess.run(words, stderr=subprocess.PIPE, text=True, check=False)
        assert result.returncode == 1
        printed[kind] = result.stderr
    assert printed["ours"] == "weightdistill: error: no teacher; give one\n"
    assert "Traceback (most recent call last)" in printed["other"] and "ZeroDivisionError" in printed["other"]
