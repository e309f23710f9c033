#!/usr/bin/env bash
# Writes experiments/costs.md: the planned costs of each recipe, and the planned beside the measured costs of each experiment
# with committed results.
#
#   experiments/costs.sh [--gpus N] [--tflops X] [--cpu-tflops Y]
#
#   --gpus N        GPUs (default: 8)
#   --tflops X      10^12 FLOPs per second of a large fp16 matrix product on one GPU (default: 100, about a V100)
#   --cpu-tflops Y  the same in float32 on the CPU core that the results come from (default: 0.14)
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

declare -A plans
recipes=(wmt16-en-ro nist12-zh-en wmt14-en-de-base wmt14-en-de-big wmt14-en-de-deep)
for recipe in "${recipes[@]}"; do
    plans[$recipe]=$(weightdistill plan experiments/recipe.yaml "experiments/$recipe/config.yaml" --gpus "$GPUS" --tflops "$TFLOPS")
done

{
    echo "# What the recipes cost"
    echo
    echo "All trainings of a recipe, one after the other, on $GPUS GPUs of $TFLOPS TFLOPS in fp16:"
    echo
    echo "| recipe | time | memory of one GPU | disk |"
    echo "|:--|--:|--:|--:|"
    for recipe in "${recipes[@]}"; do
        awk -F '  +' -v recipe="$recipe" '/^all, one after/ { print "| " recipe " | " $2 " | " $3 " | " $4 " |" }' \
            <<< "${plans[$recipe]}"
    done
    echo
    echo "- Parameters and updates are exact. Times on GPUs are estimates: they assume the share of the peak speed that fairseq is"
    echo "  known to reach, and were not measured."
    echo "- Disk is the size of checkpoints and corpora. Data preparation and evaluation are not included."
    echo "- \`weightdistill plan\` computes this for your machine. \`experiments/costs.sh --gpus $GPUS --tflops $TFLOPS\` writes this page."
    for recipe in "${recipes[@]}"; do
        printf '\n## %s\n\n' "$recipe"
        indented <<< "${plans[$recipe]}"
    done
    printf '\n## Planned and measured\n\n'
    echo "On one CPU core of $CPU_TFLOPS TFLOPS in float32, with two trainings at a time. The plan's constants were fitted to some of"
    echo "the Multi30k times below, so those are no independent check. Measured memory includes the pages of a teacher's cache that were"
    echo "read, which the operating system can reclaim."
    check multi30k-en-de experiments/multi30k-en-de/config.yaml
    check en-ro experiments/small.yaml experiments/en-ro/config.yaml
    check tatoeba-de-en experiments/small.yaml experiments/tatoeba-de-en/config.yaml
} > experiments/costs.md.writing
mv experiments/costs.md.writing experiments/costs.md
