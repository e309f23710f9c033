#!/usr/bin/env bash
# Compare the decoding speed of several models, with fairseq and with CTranslate2. The models take turns; ratios are to the first.
#
#   scripts/benchmark.sh --input PIECES --data DATA_BIN --output DIR [options] -- MODEL_DIR...
#
#   --input PIECES     source pieces to translate
#   --data DATA_BIN    folder with the dictionaries
#   --output DIR       receives fairseq.json and ctranslate2.json
#   --beam N           beam size (default: 4)
#   --batches "A B"    batch sizes in sentences (default: "1 64")
#   --sentences N      decode the first N sentences (default: 200)
#   --repetitions N    measurements of each model (default: 3)
#   --threads N        CPU threads (default: 1)
#   --vocabulary-map FILE  time CTranslate2 models without and with this map
#   -- MODEL_DIR...    folders that each hold model.pt and ctranslate2/ (weightdistill export)
#
# Run it on an otherwise idle machine.
source "$(dirname "$0")/common.sh"

INPUT='' DATA='' OUTPUT='' BEAM=4 BATCHES='1 64' SENTENCES=200 REPETITIONS=3 THREADS=1 VOCABULARY_MAP=''
options "$@"
need --input "$INPUT"; need --data "$DATA"; need --output "$OUTPUT"
[[ ${#REST[@]} -gt 0 ]] || die "no models; name their folders after --"

arguments=(--input "$INPUT" --data "$DATA" --beam "$BEAM" --sentences "$SENTENCES" --repetitions "$REPETITIONS"
    --threads "$THREADS")
for size in $BATCHES; do arguments+=(--batch-size "$size"); done
mkdir -p "$OUTPUT"
# One GPU for both engines: fairseq decodes on one, CTranslate2 would share batches out over all.
visible=${CUDA_VISIBLE_DEVICES-0}
export CUDA_VISIBLE_DEVICES=${visible%%,*}
weightdistill benchmark "${REST[@]/%//model.pt}" "${arguments[@]}" --json "$OUTPUT/fairseq.json"
weightdistill benchmark "${REST[@]/%//ctranslate2}" "${arguments[@]}" ${VOCABULARY_MAP:+--vocabulary-map "$VOCABULARY_MAP"} \
    --json "$OUTPUT/ctranslate2.json"
