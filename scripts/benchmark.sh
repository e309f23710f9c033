#!/usr/bin/env bash
# Decoding speed of several models in turn, as ratios to the first: once with fairseq, once with CTranslate2.
#
#   scripts/benchmark.sh --input PIECES --data DATA_BIN --output DIR [options] -- MODEL_DIR...
#
#   --input PIECES     source pieces to translate
#   --data DATA_BIN    folder with the dictionaries
#   --output DIR       receives fairseq.json and ctranslate2.json
#   --beam N           beam (default: 4)
#   --batches "A B"    sentences decoded together (default: "1 64")
#   --sentences N      take the first so many (default: 200)
#   --repetitions N    measurements of each (default: 3)
#   --threads N        CPU threads (default: 1)
#   -- MODEL_DIR...    folders that each hold model.pt and ctranslate2/ (weightdistill export)
#
# Nothing else should run on the machine meanwhile.
source "$(dirname "$0")/common.sh"

INPUT='' DATA='' OUTPUT='' BEAM=4 BATCHES='1 64' SENTENCES=200 REPETITIONS=3 THREADS=1
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
weightdistill benchmark "${REST[@]/%//ctranslate2}" "${arguments[@]}" --json "$OUTPUT/ctranslate2.json"
