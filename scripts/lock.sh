#!/usr/bin/env bash
# Write scripts/requirements.txt: a version, and the SHA-256 of each of its files, of all that a set-up installs but torch, for
# every Python that setup.cfg allows. Versions stay as they are, unless the dependencies in setup.cfg rule them out.
#
#   scripts/lock.sh [--upgrade]
#
#   --upgrade          take the newest versions
#
#   PYTHON             a Python 3.10, the oldest: it builds what states no dependencies (default: python3.10)
#
# torch is left to setup.sh: its builds, for CPUs and for each CUDA, have one version, but files of their own.
source "$(dirname "$0")/common.sh"

UPGRADE=''
options "$@"

command -v uv > /dev/null || die "uv is missing; run scripts/setup.sh first"
cd "$ROOT"
uv pip compile setup.cfg --extra chinese --extra dev --universal --python "${PYTHON:-python3.10}" --python-version 3.10 \
    --generate-hashes --no-emit-package torch --no-emit-package pip --no-annotate --custom-compile-command scripts/lock.sh \
    --quiet ${UPGRADE:+--upgrade} --output-file scripts/requirements.txt
