#!/usr/bin/env bash
# Average the last epoch checkpoints of a training.
#
#   scripts/average.sh --checkpoints DIR --last N --output FILE
#
#   --checkpoints DIR  holds checkpoint1.pt, checkpoint2.pt, ... (fairseq-train --keep-last-epochs N keeps the last N)
#   --last N           how many of them (default: 5)
#   --output FILE      checkpoint to write
source "$(dirname "$0")/common.sh"

CHECKPOINTS='' LAST=5 OUTPUT=''
options "$@"
need --checkpoints "$CHECKPOINTS"; need --output "$OUTPUT"

mapfile -t files < <(
    find "$CHECKPOINTS" -maxdepth 1 -regex '.*/checkpoint[0-9]+\.pt' | sort --version-sort | tail -n "$LAST"
)
[[ ${#files[@]} -eq $LAST ]] \
    || die "$CHECKPOINTS holds ${#files[@]} epoch checkpoints, but --last is $LAST; train with --keep-last-epochs $LAST"
python -m weightdistill.average "$OUTPUT" "${files[@]}"
