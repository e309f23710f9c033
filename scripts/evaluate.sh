#!/usr/bin/env bash
# Translate the test sets with one model, and score the translations against the raw references.
#
#   scripts/evaluate.sh --model MODEL --prepared DIR --raw DIR --source LANG --target LANG --output DIR [options]
#
#   --model MODEL        fairseq checkpoint, or CTranslate2 folder
#   --prepared DIR       output of prepare.sh: spm.model, pieces/ and data-bin/
#   --raw DIR            holds the references, NAME.LANG
#   --source LANG        source language
#   --target LANG        target language
#   --output DIR         receives, for each test set, NAME.pieces, NAME.txt and NAME.json
#   --tests "A B"        names of the test sets (default: test)
#   --beam N             beam (default: 5)
#   --length-penalty P   scores are divided by the length to this power (default: 1.0)
source "$(dirname "$0")/common.sh"

MODEL='' PREPARED='' RAW='' SOURCE='' TARGET='' OUTPUT='' TESTS=test BEAM=5 LENGTH_PENALTY=1.0
options "$@"
need --model "$MODEL"; need --prepared "$PREPARED"; need --raw "$RAW"
need --source "$SOURCE"; need --target "$TARGET"; need --output "$OUTPUT"

mkdir -p "$OUTPUT"
for name in $TESTS; do
    weightdistill translate "$MODEL" --data "$PREPARED/data-bin" --input "$PREPARED/pieces/$name.$SOURCE" \
        --output "$OUTPUT/$name.pieces" --beam "$BEAM" --length-penalty "$LENGTH_PENALTY"
    python -m weightdistill.subwords decode "$PREPARED/spm.model" < "$OUTPUT/$name.pieces" > "$OUTPUT/$name.txt"
    weightdistill evaluate "$OUTPUT/$name.txt" --reference "$RAW/$name.$TARGET" --json "$OUTPUT/$name.json"
done
