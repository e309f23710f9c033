#!/usr/bin/env bash
# What each recipe costs, computed from its settings, and how plans of experiments with committed results compare with what
# these took: writes experiments/costs.md.
#
#   experiments/costs.sh [--gpus N] [--tflops X] [--cpu-tflops Y]
#
#   --gpus N        GPUs (default: 8)
#   --tflops X      10^12 operations a second of a large fp16 matrix product on one of them (default: 100, a V100 or so)
#   --cpu-tflops Y  the same, in float32, of the CPU core that the results come from (default: 0.14)
source "$(dirname "$0")/../scripts/common.sh"

GPUS=8 TFLOPS=100 CPU_TFLOPS=0.14
options "$@"
cd "$ROOT"

indented() {
    sed 's/^/    /; s/ *$//'
}

# check EXPERIMENT FILES...: the plan of its settings beside its results
check() {
    printf '\n### %s\n\n' "$1"
    weightdistill plan "${@:2}" --gpus 0 --tflops "$CPU_TFLOPS" --results "experiments/$1/results/results.json" \
        | sed --quiet '/^system/,$p' | indented
}

{
    echo "# What the recipes cost"
    echo
    echo "By \`experiments/costs.sh --gpus $GPUS --tflops $TFLOPS\`: estimates of \`weightdistill plan\`, which gives them for your"
    echo "machine. Memory is that of one GPU; disk is what the checkpoints and corpora take. Parameters and updates are exact;"
    echo "times on GPUs rest on what fairseq is known to reach there, and were not measured. Preparation and evaluation come on top."
    for recipe in wmt16-en-ro nist12-zh-en wmt14-en-de-base wmt14-en-de-big wmt14-en-de-deep; do
        printf '\n## %s\n\n' "$recipe"
        weightdistill plan experiments/recipe.yaml "experiments/$recipe/config.yaml" --gpus "$GPUS" --tflops "$TFLOPS" \
            | indented
    done
    printf '\n## Planned and measured\n\n'
    echo "For one CPU core of $CPU_TFLOPS TFLOPS in float32; two trainings ran at a time. Constants of the plan were fitted to some of"
    echo "the first experiment's times. Measured memory counts what was read of a teacher's cache, which the system may take back."
    check multi30k-en-de experiments/multi30k-en-de/config.yaml
    check en-ro experiments/small.yaml experiments/en-ro/config.yaml
    check tatoeba-de-en experiments/small.yaml experiments/tatoeba-de-en/config.yaml
} > experiments/costs.md.writing
mv experiments/costs.md.writing experiments/costs.md
