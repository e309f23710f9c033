#!/usr/bin/env bash
# Make a virtual environment in .venv with the project and all that it needs, at pinned versions.
#
#   scripts/setup.sh
#
#   PYTHON               interpreter that makes the environment, 3.10 to 3.12 (default: python3)
#   WEIGHTDISTILL_VENV   folder of the environment (default: .venv in the project)
#   TORCH_INDEX          package index for torch, e.g. PyTorch's index of CPU builds, which spares a machine without a GPU
#                        the CUDA libraries (default: pip's)
#
# Run again it does nothing, unless the constraints or the dependencies have changed.
source "$(dirname "$0")/common.sh"
[[ ${1:-} != --help ]] || { usage; exit 0; }
[[ $# -eq 0 ]] || die "unknown option $1; see --help"

PYTHON=${PYTHON:-python3}
STAMP=$VENV/weightdistill.sha256
WANTED=$(cat "$ROOT/scripts/constraints.txt" "$ROOT/setup.cfg" | sha256sum | cut -d ' ' -f 1)
[[ -e $STAMP && $(< "$STAMP") == "$WANTED" ]] && exit 0

"$PYTHON" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2> /dev/null \
    || die "$PYTHON must be Python 3.10, 3.11 or 3.12; name another with PYTHON=..."
# Only Python 3.12 gets a built package of fairseq.
"$PYTHON" - << 'END' || die "fairseq is compiled for this $PYTHON, which takes a C++ compiler and Python's headers;" \
    "on Debian, install g++ and python3-dev, or name a Python 3.12 with PYTHON=..."
import os, shutil, sys, sysconfig
headers = os.path.join(sysconfig.get_path("include"), "Python.h")
sys.exit(sys.version_info < (3, 12) and not (shutil.which("g++") and os.path.exists(headers)))
END
if [[ ! -x $VENV/bin/pip ]]; then
    echo "making $VENV ..."
    "$PYTHON" -m venv "$VENV" || die "$PYTHON cannot make an environment; on Debian, install python3-venv"
fi
rm -f "$STAMP"

# Build environments read this too: without it, building fairseq fetches the newest torch. As an address, since pip takes
# blanks for the ends of paths.
PIP_CONSTRAINT=$("$PYTHON" -c 'import pathlib, sys; print(pathlib.Path(sys.argv[1]).as_uri())' "$ROOT/scripts/constraints.txt")
export PIP_CONSTRAINT
export PIP_DISABLE_PIP_VERSION_CHECK=1
# What an earlier set-up left in the project's folder is not this environment's.
unset PYTHONPATH
if ! "$VENV/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    # Later versions of pip refuse the metadata of the omegaconf that official fairseq needs.
    "$VENV/bin/python" -m pip install -qq 'pip<24.1'
fi
echo "installing into $VENV; this takes a few minutes ..."
"$VENV/bin/python" -m pip install -qq ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
"$VENV/bin/python" -m pip install -qq numpy setuptools
"$VENV/bin/python" -m pip install -qq -e "${ROOT}[chinese,dev]"
echo "$WANTED" > "$STAMP"
version="import sys, torch; print('installed: Python', sys.version.split()[0], 'and torch', torch.__version__)"
"$VENV/bin/python" -c "$version"
