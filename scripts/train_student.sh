#!/usr/bin/env bash
# Train a student from random weights: plain, or with word-level distillation. Resumes where it was interrupted.
#
#   scripts/train_student.sh --data DATA_BIN --teacher FILE --output DIR [options] [-- FAIRSEQ-TRAIN OPTIONS]
#
#   --data DATA_BIN           binarised data (prepare.sh; with the teacher's translations: translate.sh)
#   --teacher FILE            its checkpoint; gives the student's settings, and its predictions to learn from
#   --output DIR              receives the checkpoints, and training.json when all is done
#   --preset NAME             shape of the student: tiny or small (default: tiny)
#   --distillation-weight W   share of the teacher in the loss (default: 0, a plain student)
#   --temperature T           of both distributions (default: 1)
#   -- ...                    hyper-parameters, e.g. -- --lr 7e-4 --warmup-updates 4000 --max-update 60000
source "$(dirname "$0")/common.sh"

DATA='' TEACHER='' OUTPUT='' PRESET=tiny WEIGHT=0 TEMPERATURE=1
while [[ $# -gt 0 ]]; do
    case $1 in
        --data) DATA=$2 ;;
        --teacher) TEACHER=$2 ;;
        --output) OUTPUT=$2 ;;
        --preset) PRESET=$2 ;;
        --distillation-weight) WEIGHT=$2 ;;
        --temperature) TEMPERATURE=$2 ;;
        --help) usage; exit 0 ;;
        --) shift; break ;;
        *) die "unknown option $1; see --help" ;;
    esac
    shift 2
done
need --data "$DATA"; need --teacher "$TEACHER"; need --output "$OUTPUT"
train "$OUTPUT" "$DATA" --task distillation --arch student --student-preset "$PRESET" --teacher-path "$TEACHER" \
    --criterion distillation --distillation-weight "$WEIGHT" --temperature "$TEMPERATURE" "$@"
