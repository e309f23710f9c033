#!/usr/bin/env bash
# Measure what training costs: updates of phase 1, and of distillation with a running and a cached teacher, as ratios to plain
# updates of the same student (TINY and SMALL of a base teacher, 512/2048, 32,000 words, 4,096 tokens per batch). Writes
# results/*.json. Takes five minutes on two CPU cores, which should be idle otherwise.
#
#   experiments/training-speed/run.sh
source "$(dirname "$0")/../../scripts/common.sh"
[[ ${1:-} != --help ]] || { usage; exit 0; }
cd "$(dirname "$0")"
mkdir -p results
for preset in tiny small; do
    weightdistill benchmark-training --teacher-preset base --student-preset "$preset" --tokens 4096 --repetitions 9 \
        --json "results/base-$preset.json"
done
