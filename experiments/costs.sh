#!/usr/bin/env bash
# What each recipe costs, computed from its settings: writes experiments/costs.md.
#
#   experiments/costs.sh [--gpus N] [--tflops X]
#
#   --gpus N     GPUs (default: 8)
#   --tflops X   10^12 operations a second of a large fp16 matrix product on one of them (default: 100, a V100 or so)
source "$(dirname "$0")/../scripts/common.sh"

GPUS=8 TFLOPS=100
options "$@"
cd "$ROOT"
{
    echo "# What the recipes cost"
    echo
    echo "By \`experiments/costs.sh --gpus $GPUS --tflops $TFLOPS\`: estimates of \`weightdistill plan\`, which gives them for your"
    echo "machine. Memory is that of one GPU; disk is what the checkpoints and corpora take. Parameters and updates are exact;"
    echo "times on GPUs rest on what fairseq is known to reach there, and were not measured. Preparation and evaluation come on top."
    for recipe in wmt16-en-ro nist12-zh-en wmt14-en-de-base wmt14-en-de-big wmt14-en-de-deep; do
        printf '\n## %s\n\n    ' "$recipe"
        weightdistill plan experiments/recipe.yaml "experiments/$recipe/config.yaml" --gpus "$GPUS" --tflops "$TFLOPS" \
            | sed ':a; N; $!ba; s/\n/\n    /g'
    done
} > experiments/costs.md.writing
mv experiments/costs.md.writing experiments/costs.md
