#!/usr/bin/env bash
# Train a student without a generator: plain, or with distillation. Resumes where it was interrupted.
#
#   scripts/train_student.sh --data DATA_BIN --teacher FILE --output DIR [options] [-- FAIRSEQ-TRAIN OPTIONS]
#
#   --data DATA_BIN           binarised data (prepare.sh; with the teacher's translations: translate.sh)
#   --teacher FILE            its checkpoint; gives the student its settings, and its predictions to learn from
#   --output DIR              receives checkpoints and train.log, and training.json at the end
#   --preset NAME             shape of the student: tiny or small (default: tiny)
#   --distillation-weight W   the teacher's share in the loss (default: 0, a plain student)
#   --temperature T           softens both distributions (default: 1)
#   -- ...                    hyper-parameters that override the defaults of `weightdistill train`, e.g.
#                             -- --lr 7e-4 --warmup-updates 4000 --max-update 60000
source "$(dirname "$0")/common.sh"

DATA='' TEACHER='' OUTPUT='' PRESET=tiny DISTILLATION_WEIGHT=0 TEMPERATURE=1
options "$@"
need --data "$DATA"; need --teacher "$TEACHER"; need --output "$OUTPUT"
exec weightdistill train student "$DATA" --teacher "$TEACHER" --output "$OUTPUT" --preset "$PRESET" \
    --distillation-weight "$DISTILLATION_WEIGHT" --temperature "$TEMPERATURE" -- "${REST[@]}"
