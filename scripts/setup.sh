#!/usr/bin/env bash
# Make a virtual environment in .venv with the project and all that it needs, at pinned versions.
#
#   scripts/setup.sh
#
#   PYTHON               interpreter that makes the environment, 3.10 to 3.12 (default: python3)
#   WEIGHTDISTILL_VENV   folder of the environment (default: .venv in the project)
#   TORCH                version of torch (default: 2.13.0)
#   TORCH_INDEX          package index for torch, e.g. PyTorch's index of CPU builds, which spares a machine without a GPU
#                        the CUDA libraries (default: pip's)
#
# Run again it does nothing, unless the versions or the dependencies have changed.
#
# pip checks the SHA-256 of everything but torch and the CUDA libraries that torch brings, which differ from build to build: these
# have fixed versions only.
source "$(dirname "$0")/common.sh"
[[ ${1:-} != --help ]] || { usage; exit 0; }
[[ $# -eq 0 ]] || die "unknown option $1; see --help"

PYTHON=${PYTHON:-python3}
STAMP=$VENV/weightdistill.sha256
REQUIREMENTS=$ROOT/scripts/requirements.txt
WANTED=$({ cat "$REQUIREMENTS" "$ROOT/setup.cfg"; echo "${TORCH:-}"; } | sha256sum | cut -d ' ' -f 1)
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

export PIP_DISABLE_PIP_VERSION_CHECK=1
# What an earlier set-up left in the project's folder is not this environment's.
unset PYTHONPATH
if ! "$VENV/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    # Later versions of pip refuse the metadata of the omegaconf that official fairseq needs.
    "$VENV/bin/python" -m pip install -qq 'pip<24.1'
fi
echo "installing into $VENV; this takes a few minutes ..."
# locked NAMES: installs what has these names in requirements.txt, a regular expression. What is compiled is built with what is
# installed by then (--no-build-isolation), and not with the newest versions.
locked() {
    awk -v names="^($1)==" '/^[^ #]/ { wanted = $0 ~ names } wanted' "$REQUIREMENTS" > "$VENV/requirements.txt"
    "$VENV/bin/python" -m pip install -qq --no-deps --no-build-isolation --require-hashes -r "$VENV/requirements.txt"
}
torch=(install -qq --no-warn-conflicts ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "torch==${TORCH:-2.13.0}")
locked 'cython|filelock|fsspec|jinja2|markupsafe|mpmath|networkx|numpy|setuptools|sympy|typing-extensions'
locked fairseq  # Python 3.10's: where torch is, its build wants a source that its archive lacks
"$VENV/bin/python" -m pip "${torch[@]}"
locked '.*'
# Another version of torch may need other versions.
[[ -z ${TORCH:-} ]] || "$VENV/bin/python" -m pip "${torch[@]}"
"$VENV/bin/python" -m pip install -qq --no-deps --no-build-isolation -e "$ROOT"
echo "$WANTED" > "$STAMP"
version="import sys, torch; print('installed: Python', sys.version.split()[0], 'and torch', torch.__version__)"
"$VENV/bin/python" -c "$version"
