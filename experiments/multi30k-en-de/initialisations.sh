#!/usr/bin/env bash
# Which start is the best? TINY students with word-level distillation under each start in turn: random, copied and selected
# teacher weights, the parameter generator's before and after phase 1 (which costs epochs of its own; the others have none
# before update 0). Seed 1. Resumes where it was interrupted.
#
#   experiments/multi30k-en-de/initialisations.sh --work DIR [--epochs N] [--jobs N] [--output FILE]
#
#   --work DIR       the folder of the experiment's workflow, with prepared/, teacher/average.pt and generated/wd-tiny-1.pt
#   --epochs N       length of each run (default: 2)
#   --jobs N         runs at a time, each on one thread (default: 1)
#   --output FILE    a line for each run: start, loss on the validation set in bits a token at update 0, 500 and the end
#                    (default: results/initialisations.tsv beside this script)
source "$(dirname "$0")/../../scripts/common.sh"

WORK='' EPOCHS=2 JOBS=1 OUTPUT=$ROOT/experiments/multi30k-en-de/results/initialisations.tsv
options "$@"
need --work "$WORK"
for file in teacher/average.pt generated/wd-tiny-1.pt; do
    [[ -e $WORK/$file ]] || die "$WORK has no $file; run the experiment's workflow first"
done

# The experiment's own options of a student; shell words, quotes and all.
read_options='import sys, yaml; print(yaml.safe_load(open(sys.argv[1]))["student_options"])'
eval "TRAINING=($(python -c "$read_options" "$(dirname "$0")/config.yaml") --max-epoch $EPOCHS --seed 1)"
TRAINING+=(--validate-interval-updates 500)
STARTS=(
    random
    first:select last:select middle:select
    middle:truncate middle:aligned middle:svd
    generator
    'after phase 1'
)

# folder START: where the run with this start lies
folder() {
    echo "$WORK/initialisations/${1//[: ]/-}"
}

# measure START: validates the start itself, then trains from it; messages go to logs beside its folder
measure() {
    local start=(--student-init "$1") stage
    [[ $1 != 'after phase 1' ]] || start=(--finetune-from-model "$WORK/generated/wd-tiny-1.pt")
    mkdir -p "$WORK/initialisations"
    stage=("$ROOT/scripts/train_student.sh" --data "$WORK/prepared/data-bin" --teacher "$WORK/teacher/average.pt"
        --distillation-weight 0.5)
    OMP_NUM_THREADS=1 "${stage[@]}" --output "$(folder "$1")-0" -- "${TRAINING[@]}" "${start[@]}" --lr 0 --max-update 1 \
        &>> "$(folder "$1")-0.log" || die "$1 failed; see $(folder "$1")-0.log"
    OMP_NUM_THREADS=1 "${stage[@]}" --output "$(folder "$1")" -- "${TRAINING[@]}" "${start[@]}" \
        &>> "$(folder "$1").log" || die "$1 failed; see $(folder "$1").log"
    echo "measured: $1"
}

# losses LOG: the validation losses in a training's log, in order, at updates 0 (or 1), 500 and the end
losses() {
    sed -n "s/.*valid on 'valid' subset | loss \([0-9.]*\) .*num_updates \([0-9]*\).*/\2 \1/p" "$1"
}

in_parallel "$JOBS" measure "${STARTS[@]}"
mkdir -p "$(dirname "$OUTPUT")"
{
    printf 'start\tupdate 0\tupdate 500\tafter %s epochs\n' "$EPOCHS"
    for start in "${STARTS[@]}"; do
        [[ -e $(folder "$start")/training.json ]] || die "$start was not measured; see $(folder "$start").log"
        printf '%s\t%s\t%s\t%s\n' "$start" "$(losses "$(folder "$start")-0.log" | tail -n 1 | cut -d ' ' -f 2)" \
            "$(losses "$(folder "$start").log" | awk '$1 == 500 { print $2 }' | tail -n 1)" \
            "$(losses "$(folder "$start").log" | tail -n 1 | cut -d ' ' -f 2)"
    done
} > "$OUTPUT.writing"
mv "$OUTPUT.writing" "$OUTPUT"
cat "$OUTPUT"
