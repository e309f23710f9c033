#!/usr/bin/env bash
# What the generator costs: a phase-1 update against a plain update of the same student, TINY and SMALL of a base teacher
# (512/2048, 32,000 words), 4,096 tokens a batch, without a teacher's predictions. Writes results/*.json. Takes three
# minutes on two CPU cores, which should do nothing else meanwhile.
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
