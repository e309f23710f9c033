#!/usr/bin/env bash
# Which generator options are the best start? Phase 1 of TINY for a few epochs under each option in turn, changed one at a
# time from one start, and under the bundles `paper` and `authors`; seed 1 where no other is named. Resumes where it was
# interrupted.
#
#   experiments/multi30k-en-de/defaults.sh --work DIR [--epochs N] [--jobs N] [--output FILE]
#
#   --work DIR       the folder of the experiment's workflow, with prepared/ and teacher/average.pt in it
#   --epochs N       length of each run (default: 1)
#   --jobs N         runs at a time, each on one thread (default: 1)
#   --output FILE    a line for each run: options, loss on the validation set in bits a token
#                    (default: results/defaults.tsv beside this script)
source "$(dirname "$0")/../../scripts/common.sh"

WORK='' EPOCHS=1 JOBS=1 OUTPUT=$ROOT/experiments/multi30k-en-de/results/defaults.tsv
options "$@"
need --work "$WORK"
[[ -e $WORK/teacher/average.pt ]] || die "$WORK has no teacher/average.pt; run the experiment's workflow first"

# The experiment's own options of phase 1; shell words, quotes and all.
read_options='import sys, yaml; print(yaml.safe_load(open(sys.argv[1]))["phase1_options"])'
eval "TRAINING=($(python -c "$read_options" "$(dirname "$0")/config.yaml") --max-epoch $EPOCHS --seed 1)"
# The start that the options are changed from: the default as it was when this was first measured.
START='--generator-layer-init last'
VARIANTS=(
    "$START"
    '--generator-layer-init first'
    '--generator-layer-init spaced'
    '--generator-layer-init mean'
    "$START --generator-map-init aligned"
    "$START --generator-map-init xavier"
    "$START --generator-gate-init ones"
    "$START --generator-sharing instance"
    "$START --generator-equal-maps learn"
    "$START --no-generator-gate"
    '--generator paper'
    '--generator authors'
    # The two best once more: what is a difference worth?
    "$START --seed 2"
    '--generator-layer-init spaced --seed 2'
)

# folder OPTIONS: where the run with these options lies
folder() {
    echo "$WORK/defaults/${1// /_}"
}

# measure OPTIONS: one run, with its messages in a log beside its folder
measure() {
    mkdir -p "$WORK/defaults"
    # shellcheck disable=SC2086  # options are words
    OMP_NUM_THREADS=1 "$ROOT/scripts/phase1.sh" --data "$WORK/prepared/data-bin" --teacher "$WORK/teacher/average.pt" \
        --output "$(folder "$1")" -- "${TRAINING[@]}" $1 &>> "$(folder "$1").log" \
        || die "phase 1 with $1 failed; see $(folder "$1").log"
    echo "measured: $1"
}

in_parallel "$JOBS" measure "${VARIANTS[@]}"

mkdir -p "$(dirname "$OUTPUT")"
{
    printf 'options\tvalidation loss after %s epochs\n' "$EPOCHS"
    for variant in "${VARIANTS[@]}"; do
        loss=$(python -c 'import json, sys; print(json.load(open(sys.argv[1]))["best_validation_loss"])' \
            "$(folder "$variant")/training.json")
        printf '%s\t%s\n' "$variant" "$loss"
    done
} > "$OUTPUT.writing"
mv "$OUTPUT.writing" "$OUTPUT"
cat "$OUTPUT"
