#!/usr/bin/env bash
# Export a trained student, of phase 1 or phase 2, to a plain checkpoint that stock fairseq loads; with proof on real batches.
#
#   scripts/export.sh CHECKPOINT --output FILE [OPTIONS OF weightdistill export]
#
#   e.g. scripts/export.sh phase1/checkpoint_best.pt --output student.pt --ctranslate2 student-ct2 --quantization int8
#   `weightdistill export --help` lists the options.
source "$(dirname "$0")/common.sh"
[[ ${1:-} != --help ]] || { usage; exit 0; }
weightdistill export "$@"
