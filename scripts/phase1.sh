#!/usr/bin/env bash
# Weight distillation, phase 1: train the generator that turns the teacher's weights into the student's. Resumes where it was
# interrupted. Next: weightdistill export, then phase2.sh.
#
#   scripts/phase1.sh --data DATA_BIN --teacher FILE --output DIR [options] [-- FAIRSEQ-TRAIN OPTIONS]
#
#   --data DATA_BIN           binarised data (prepare.sh; with the teacher's translations: translate.sh)
#   --teacher FILE            its checkpoint
#   --output DIR              receives checkpoints and train.log, and training.json at the end
#   --preset NAME             shape of the student: tiny or small (default: tiny)
#   --generator NAME          bundle of options: default, paper or authors (default: default)
#   --distillation-weight W   the teacher's share in the loss (default: 0.5)
#   --temperature T           softens both distributions (default: 1)
#   -- ...                    hyper-parameters that override the defaults of `weightdistill train`, e.g.
#                             -- --max-update 30000 --generator-layer-init mean
source "$(dirname "$0")/common.sh"

DATA='' TEACHER='' OUTPUT='' PRESET=tiny GENERATOR=default DISTILLATION_WEIGHT=0.5 TEMPERATURE=1
options "$@"
need --data "$DATA"; need --teacher "$TEACHER"; need --output "$OUTPUT"
exec weightdistill train phase1 "$DATA" --teacher "$TEACHER" --output "$OUTPUT" --preset "$PRESET" \
    --generator "$GENERATOR" --distillation-weight "$DISTILLATION_WEIGHT" --temperature "$TEMPERATURE" -- "${REST[@]}"
