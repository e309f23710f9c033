#!/usr/bin/env bash
# Measure how much a vocabulary map speeds up decoding at the paper's base shape: random models, 32,000 joint pieces, 25 pieces
# of output, beam 4, batches of 1 and 32, one CPU thread. Source sentences and map come from Tatoeba German-English. Writes
# results/speed-base-tiny-batch-{1,32}.json. Takes about six minutes on a CPU core, which should be idle otherwise.
#
#   experiments/vocabulary-map/speed.sh --work DIR [--shape NAME] [--student NAME]
#
#   --work DIR      receives text, pieces and map; finished output is kept
#   --shape NAME    shape of the teacher: base, big or deep (default: base)
#   --student NAME  tiny or small (default: tiny)
#
# TATOEBA_DIR names a local copy of the text. The map needs eflomal: pip install eflomal.
source "$(dirname "$0")/../../scripts/common.sh"

WORK='' SHAPE=base STUDENT=tiny
options "$@"
need --work "$WORK"
HERE=$(cd "$(dirname "$0")" && pwd)
export OMP_NUM_THREADS=1

[[ -e $WORK/raw/train.de ]] || "$ROOT/experiments/tatoeba-de-en/download.sh" --output "$WORK/raw"
"$ROOT/scripts/prepare.sh" --raw "$WORK/raw" --source de --target en --output "$WORK/prepared" --vocab-size 32000
[[ -e $WORK/vmap.txt ]] || weightdistill vocabulary-map --source "$WORK/prepared/pieces/train.de" \
    --target "$WORK/prepared/pieces/train.en" --output "$WORK/vmap.txt"
# Tatoeba's sentences are short: the test set as 128 sentences of 25 pieces.
awk '{ for (i = 1; i <= NF && n < 128 * 25; i++) printf "%s%s", $i, ++n % 25 ? " " : "\n" }' \
    "$WORK/prepared/pieces/test.de" > "$WORK/sentences.de"
# Alone, most models translate a sentence so slowly that 16 are enough; a batch takes the fastest a fraction of a second.
for batch in 1:16 32:128; do
    weightdistill benchmark --shape "$SHAPE" --student "$STUDENT" --data "$WORK/prepared/data-bin" \
        --input "$WORK/sentences.de" --vocabulary-map "$WORK/vmap.txt" --output-length 25 --beam 4 --threads 1 \
        --batch-size "${batch%:*}" --sentences "${batch#*:}" --repetitions 3 \
        --json "$HERE/results/speed-$SHAPE-$STUDENT-batch-${batch%:*}.json"
done
