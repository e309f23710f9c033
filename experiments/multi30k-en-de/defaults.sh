#!/usr/bin/env bash
# Which generator options are the best start? Phase 1 of TINY for a few epochs under each option in turn, changed one at a
# time from the default, and under the bundles `paper` and `authors`. Resumes where it was interrupted.
#
#   experiments/multi30k-en-de/defaults.sh --work DIR [--epochs N] [--output FILE]
#
#   --work DIR       the folder of the experiment's workflow, with prepared/ and teacher/average.pt in it
#   --epochs N       length of each run (default: 2)
#   --output FILE    a line for each run: options, loss on the validation set in bits a token
#                    (default: results/defaults.tsv beside this script)
source "$(dirname "$0")/../../scripts/common.sh"

WORK='' EPOCHS=2 OUTPUT=$ROOT/experiments/multi30k-en-de/results/defaults.tsv
while [[ $# -gt 0 ]]; do
    case $1 in
        --work) WORK=$2 ;;
        --epochs) EPOCHS=$2 ;;
        --output) OUTPUT=$2 ;;
        --help) usage; exit 0 ;;
        *) die "unknown option $1; see --help" ;;
    esac
    shift 2
done
need --work "$WORK"
[[ -e $WORK/teacher/average.pt ]] || die "$WORK has no teacher/average.pt; run the experiment's workflow first"

# As in config.yaml
TRAINING=(--seed 1 --label-smoothing 0.1 --dropout 0.1 --optimizer adam --adam-betas '(0.9,0.98)' --clip-norm 1.0
    --lr 2e-3 --lr-scheduler inverse_sqrt --warmup-updates 400 --max-tokens 4096 --max-epoch "$EPOCHS"
    --no-epoch-checkpoints --log-interval 50)
mkdir -p "$(dirname "$OUTPUT")"
printf 'options\tvalidation loss after %s epochs\n' "$EPOCHS" > "$OUTPUT"
while read -r options; do
    run=$WORK/defaults/${options// /_}
    # shellcheck disable=SC2086  # options are words
    OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} "$ROOT/scripts/phase1.sh" --data "$WORK/prepared/data-bin" \
        --teacher "$WORK/teacher/average.pt" --output "$run" -- "${TRAINING[@]}" $options < /dev/null
    loss=$(python -c 'import json, sys; print(json.load(open(sys.argv[1]))["best_validation_loss"])' "$run/training.json")
    printf '%s\t%s\n' "$options" "$loss" | tee -a "$OUTPUT"
done <<'OPTIONS'
--generator default
--generator paper
--generator authors
--generator-layer-init first
--generator-layer-init spaced
--generator-layer-init mean
--generator-map-init aligned
--generator-map-init xavier
--generator-gate-init ones
--generator-sharing instance
--generator-equal-maps learn
--no-generator-gate
OPTIONS
