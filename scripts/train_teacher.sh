#!/usr/bin/env bash
# Train a teacher: a stock fairseq Transformer. Resumes where it was interrupted.
#
#   scripts/train_teacher.sh --data DATA_BIN --output DIR [-- FAIRSEQ-TRAIN OPTIONS]
#
#   --data DATA_BIN  binarised data (prepare.sh)
#   --output DIR     receives checkpoints and train.log, and training.json at the end
#   -- ...           model and hyper-parameters, e.g. -- --arch teacher_base --lr 7e-4 --max-update 100000
source "$(dirname "$0")/common.sh"

DATA='' OUTPUT=''
options "$@"
need --data "$DATA"; need --output "$OUTPUT"
train "$OUTPUT" "$DATA" --task translation --arch transformer --criterion label_smoothed_cross_entropy "${REST[@]}"
