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
[[ -n ${TORCH:-} ]] || mypy  # another version of torch declares other types
lint-imports
python -m fairseq_plugins.option_table --check
shellcheck -x scripts/*.sh experiments/*.sh experiments/*/*.sh tests/system/slurm/*.sh .ci/run
# snakefmt has no release for Python 3.10.
if python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then snakefmt --check experiments; fi
# Two processes, as for two cores: one begins with the whole runs, the other with the rest, and takes over what is left.
python -m pytest --numprocesses 2 --dist worksteal "$@"
