#!/usr/bin/env bash
# Train a teacher: a stock fairseq Transformer. Resumes where it was interrupted.
#
#   scripts/train_teacher.sh --data DATA_BIN --output DIR [-- FAIRSEQ-TRAIN OPTIONS]
#
#   --data DATA_BIN  binarised data (prepare.sh)
#   --output DIR     receives checkpoints and train.log, and training.json at the end
#   -- ...           model and hyper-parameters that override the defaults of `weightdistill train`, e.g.
#                    -- --arch teacher_base --max-update 100000
source "$(dirname "$0")/common.sh"

DATA='' OUTPUT=''
options "$@"
need --data "$DATA"; need --output "$OUTPUT"
exec weightdistill train teacher "$DATA" --output "$OUTPUT" -- "${REST[@]}"
