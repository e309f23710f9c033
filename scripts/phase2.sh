#!/usr/bin/env bash
# Weight distillation, phase 2: fine-tune the student that phase 1 generated. Resumes where it was interrupted.
#
#   scripts/phase2.sh --data DATA_BIN --teacher FILE --student FILE --output DIR [options] [-- FAIRSEQ-TRAIN OPTIONS]
#
#   --data DATA_BIN           binarised data (prepare.sh; with the teacher's translations: translate.sh)
#   --teacher FILE            its checkpoint
#   --student FILE            phase 1's student, exported by `weightdistill export`
#   --output DIR              receives checkpoints and train.log, and training.json at the end
#   --preset NAME             shape of the student, as in phase 1: tiny or small (default: tiny)
#   --distillation-weight W   the teacher's share in the loss (default: 0.5)
#   --temperature T           softens both distributions (default: 1)
#   -- ...                    hyper-parameters that override the defaults of `weightdistill train`, e.g.
#                             -- --lr 7e-4 --warmup-updates 1000 --max-update 30000
source "$(dirname "$0")/common.sh"

DATA='' TEACHER='' STUDENT='' OUTPUT='' PRESET=tiny DISTILLATION_WEIGHT=0.5 TEMPERATURE=1
options "$@"
need --data "$DATA"; need --teacher "$TEACHER"; need --student "$STUDENT"; need --output "$OUTPUT"
exec weightdistill train phase2 "$DATA" --teacher "$TEACHER" --student "$STUDENT" --output "$OUTPUT" --preset "$PRESET" \
    --distillation-weight "$DISTILLATION_WEIGHT" --temperature "$TEMPERATURE" -- "${REST[@]}"
