#!/usr/bin/env bash
# All checks and tests. Makes the environment first where there is none.
#
#   scripts/test.sh [PYTEST OPTIONS]        e.g. scripts/test.sh -m 'not slow'
source "$(dirname "$0")/common.sh"
[[ ${1:-} != --help ]] || { usage; exit 0; }

"$ROOT/scripts/setup.sh"
cd "$ROOT"
ruff check .
ruff format --check .
mypy
lint-imports
python -m fairseq_plugins.option_table --check
for script in scripts/*.sh experiments/*.sh experiments/*/*.sh .ci/run; do
    bash -n "$script"
done
# Two at a time, as for two cores; the tests of a file share what one process made.
python -m pytest --numprocesses 2 --dist loadfile "$@"
