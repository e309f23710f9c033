#!/usr/bin/env bash
# How much faster does CTranslate2 decode than fairseq, and does it give the same? The teacher on the validation set, beam 5,
# as for a distilled corpus. Nothing else should run meanwhile.
#
#   experiments/multi30k-en-de/engines.sh --work DIR [--threads N]
#
#   --work DIR     the folder of the experiment's workflow, with exported/teacher in it
#   --threads N    CPU threads (default: 2)
source "$(dirname "$0")/../../scripts/common.sh"

WORK='' THREADS=2
options "$@"
need --work "$WORK"
[[ -e $WORK/exported/teacher/model.pt ]] || die "$WORK has no exported/teacher; run the experiment's workflow first"
RESULTS=$(cd "$(dirname "$0")" && pwd)/results/engines
mkdir -p "$RESULTS"
cd "$WORK"

weightdistill benchmark exported/teacher/model.pt exported/teacher/ctranslate2 --data prepared/data-bin \
    --input prepared/pieces/valid.en --beam 5 --batch-size 64 --repetitions 3 --threads "$THREADS" \
    --json "$RESULTS/speed.json"
for engine in model.pt ctranslate2; do
    OMP_NUM_THREADS=$THREADS "$ROOT/scripts/evaluate.sh" --model "exported/teacher/$engine" --prepared prepared \
        --raw raw --source en --target de --tests valid --output "engines/$engine"
done
weightdistill evaluate engines/{model.pt,ctranslate2}/valid.txt --reference raw/valid.de \
    --bootstrap 1000 --json "$RESULTS/quality.json"
echo "equal translations: $(paste -d '\n' engines/{model.pt,ctranslate2}/valid.txt | awk '
    NR % 2 { first = $0; next } { equal += first == $0 } END { print equal " of " NR / 2 }')" | tee "$RESULTS/equal.txt"
