"""Runs the test command with a version of Python and of torch, and records the outcome in tests/versions.md.

    python tests/system/versions.py --python python3.10 --torch 2.6.0

Makes an environment in `runs/versions` with `scripts/setup.sh`. Options that it does not know go to the test command.
Knows nothing about what the tests need, and needs nothing but Python.
"""

import argparse
import os
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "tests/versions.md"
HEAD = """# Tested versions

Each row is a run of `scripts/test.sh`, recorded by `tests/system/versions.py`. *Checks* are the linters and contracts
that come before the tests, and the types, which are checked only with the torch that a set-up installs by default.

"""
PACKAGES = ("torch", "fairseq", "numpy", "omegaconf", "snakemake")
COLUMNS = ("Python", *PACKAGES, "checks", "tests", "passed", "failed", "skipped", "minutes", "date", "commit")

# Run by the environment's interpreter.
INSTALLED = f"""
import platform
from importlib import metadata
names = {{d.metadata["Name"].lower(): d.version for d in metadata.distributions()}}
print(platform.python_version())
for name in {PACKAGES}:
    print(names[name] if name in names else f"{{names[name + '-fixed']}} (fixed)")
"""


def main() -> int:
    """Make the environment, run the test command in it, and write the row; the exit code is the test command's."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", default=sys.executable, help="interpreter to test with")
    parser.add_argument("--torch", default="", help="version of torch (default: that of scripts/setup.sh)")
    parser.add_argument("-m", dest="marker", default="all", help="tests to run, as pytest takes it (default: all)")
    args, test_options = parser.parse_known_args()
    environment = ROOT / "runs/versions" / f"{Path(args.python).name}-torch{args.torch}"
    results = environment.with_name(f"{environment.name}.xml")
    results.parent.mkdir(parents=True, exist_ok=True)
    results.unlink(missing_ok=True)
    variables = {
        **os.environ,
        **{"PYTHON": args.python, "TORCH": args.torch, "WEIGHTDISTILL_VENV": str(environment)},
    }
    subprocess.run([ROOT / "scripts/setup.sh"], env=variables, check=True)
    commit, start = _commit(), time.monotonic()
    if args.marker != "all":
        test_options += ["-m", args.marker]
    command = [str(ROOT / "scripts/test.sh"), f"--junitxml={results}", *test_options]
    code = subprocess.run(command, env=variables, check=False).returncode
    minutes = f"{(time.monotonic() - start) / 60:.0f}"
    installed = _output(environment / "bin/python", "-c", INSTALLED).splitlines()
    checks, *counts = outcome(results)
    record([*installed, checks, args.marker, *counts, minutes, datetime.now(timezone.utc).strftime("%Y-%m-%d"), commit])
    return code


def outcome(results: Path) -> list[str]:
    """Whether the checks passed, and how many tests passed, failed and were skipped, from pytest's record."""
    if not results.exists():
        return ["failed", "", "", ""]
    suites = list(ElementTree.parse(results).getroot().iter("testsuite"))
    tests, failures, errors, skipped = (
        sum(int(suite.get(name, 0)) for suite in suites) for name in ("tests", "failures", "errors", "skipped")
    )
    return ["passed", *(str(count) for count in (tests - failures - errors - skipped, failures + errors, skipped))]


def record(row: list[str]) -> None:
    """Write a row to the table, in place of that of the same versions and tests."""
    rows = TABLE.read_text(encoding="utf-8").splitlines() if TABLE.exists() else []
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in rows if line.startswith("|")][2:]
    tests = COLUMNS.index("tests")
    kept = [other for other in cells if (*other[:2], other[tests]) != (*row[:2], row[tests])]
    lines = [COLUMNS, ["---"] * len(COLUMNS), *sorted([*kept, row])]
    text = HEAD + "".join(f"| {' | '.join(line)} |\n" for line in lines)
    TABLE.write_text(text, encoding="utf-8")


def _commit() -> str:
    changed = _output("git", "-C", ROOT, "status", "--porcelain", "--untracked-files=no")
    return _output("git", "-C", ROOT, "rev-parse", "--short", "HEAD").strip() + (" and changes" if changed else "")


def _output(*command: object) -> str:
    return subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())
