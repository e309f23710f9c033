"""An error ends a program with one line and its exit code; the traceback of an unforeseen one is kept."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from weightdistill.errors import DistillationError, reported

def nest(depth):
    nest(depth + 1)

with reported("stage"):
    match sys.argv[1]:
        case "unusable":
            raise DistillationError("field must be good,\\n  but is bad")
        case "unforeseen":
            raise KeyError("first line\\nsecond line")
        case "wordless":
            raise RuntimeError
        case "deep":
            nest(0)
        case "interrupted":
            raise KeyboardInterrupt
        case "output":
            for line in range(100_000):
                print(line)
        case "little output":
            print("line")
"""


def run(tmp_path: Path, kind: str) -> tuple[int, str]:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind], cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False
    )
    return result.returncode, result.stderr


def test_unusable_input_is_one_line(tmp_path: Path) -> None:
    assert run(tmp_path, "unusable") == (2, "stage: error: field must be good, but is bad\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("unforeseen", "unexpected KeyError: 'first line"),
        ("wordless", "unexpected RuntimeError: no reason given"),
        ("deep", "unexpected RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_an_unforeseen_error_is_one_line_and_a_log(tmp_path: Path, kind: str, words: str) -> None:
    code, printed = run(tmp_path, kind)
    (log,) = tmp_path.iterdir()
    assert code == 70
    assert printed.startswith(f"stage: error: {words}") and printed.count("\n") == 1
    assert printed.endswith(f"; please report this with the traceback in {log}\n")
    assert "Traceback (most recent call last)" in log.read_text(encoding="utf-8")


def test_the_log_goes_elsewhere_where_the_working_folder_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    program = f"import os; os.rmdir({str(folder)!r}); os.environ['TMPDIR'] = {str(tmp_path)!r}\n{PROGRAM}"
    words = [sys.executable, "-c", program, "unforeseen"]
    result = subprocess.run(words, cwd=folder, stderr=subprocess.PIPE, text=True, check=False)
    (log,) = tmp_path.glob("weightdistill-error-*.log")
    assert result.returncode == 70 and result.stderr.endswith(f"{log}\n")


@pytest.mark.parametrize("kind", ["output", "little output"])
def test_output_on_a_full_disk_is_one_line(tmp_path: Path, kind: str) -> None:
    words = [sys.executable, "-c", PROGRAM, kind]
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(words, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert result.stderr == (
        "stage: error: cannot write the output: No space left on device; check that the disk is not full\n"
    )
    assert result.returncode == 2 and not list(tmp_path.iterdir())


def test_an_interruption_and_a_closed_pipe_end_without_words(tmp_path: Path) -> None:
    assert run(tmp_path, "interrupted") == (130, "")
    words = [sys.executable, "-c", PROGRAM, "output"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1 and not list(tmp_path.iterdir())
