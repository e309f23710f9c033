#!/usr/bin/env bash
# Sequence-level distillation data: the teacher translates the training sources; real and distilled data in one folder.
#
#   scripts/translate.sh --prepared DIR --source LANG --target LANG --model MODEL --output DIR [options]
#
#   --prepared DIR     output of prepare.sh: pieces/ and data-bin/
#   --source LANG      source language
#   --target LANG      target language
#   --model MODEL      the teacher: a CTranslate2 folder (fast), or a fairseq checkpoint
#   --output DIR       receives pieces/ and data-bin/, with the same dictionaries; a finished output is left as it is
#   --beam N           beam (default: 5)
#   --batch-tokens N   padded source tokens decoded together (default: 4096)
#   --threads N        worker processes of the binarisation (default: 2)
source "$(dirname "$0")/common.sh"

PREPARED='' SOURCE='' TARGET='' MODEL='' OUTPUT='' BEAM=5 BATCH_TOKENS=4096 THREADS=2
options "$@"
need --prepared "$PREPARED"; need --source "$SOURCE"; need --target "$TARGET"
need --model "$MODEL"; need --output "$OUTPUT"
described="--prepared $PREPARED --source $SOURCE --target $TARGET --model $MODEL --beam $BEAM"
same_options "$OUTPUT" "$described"
[[ -e $OUTPUT/data-bin/done ]] && { echo "translated already: $OUTPUT"; exit 0; }

real=$PREPARED/pieces/train pieces=$OUTPUT/pieces
mkdir -p "$pieces"
echo "$described" > "$OUTPUT/options.txt"
rm -rf "$OUTPUT/data-bin"
if [[ ! -e $pieces/teacher.$TARGET ]]; then
    weightdistill translate "$MODEL" --data "$PREPARED/data-bin" --input "$real.$SOURCE" \
        --output "$pieces/teacher.$TARGET" --beam "$BEAM" --batch-tokens "$BATCH_TOKENS" --threads "$THREADS"
fi
expected=$(wc -l < "$real.$SOURCE") found=$(wc -l < "$pieces/teacher.$TARGET")
[[ $found -eq $expected ]] \
    || die "$pieces/teacher.$TARGET has $found lines for $expected sources; remove it and run this stage again"

# A pair without a translation teaches nothing; it is left out, and said so. Its real pair stays.
: > "$pieces/distilled.$SOURCE"; : > "$pieces/distilled.$TARGET"
paste -d '\t' "$real.$SOURCE" "$pieces/teacher.$TARGET" \
    | awk -F '\t' -v source="$pieces/distilled.$SOURCE" -v target="$pieces/distilled.$TARGET" \
        'NF == 2 && $2 != "" { print $1 > source; print $2 > target }'
kept=$(wc -l < "$pieces/distilled.$TARGET")
echo "distilled: $kept sentence pairs; $((expected - kept)) empty translations left out"

for lang in "$SOURCE" "$TARGET"; do
    cat "$real.$lang" "$pieces/distilled.$lang" > "$pieces/train.$lang"
done
fairseq-preprocess --source-lang "$SOURCE" --target-lang "$TARGET" --trainpref "$pieces/train" \
    --srcdict "$PREPARED/data-bin/dict.$SOURCE.txt" --tgtdict "$PREPARED/data-bin/dict.$TARGET.txt" \
    --destdir "$OUTPUT/data-bin" --workers "$THREADS"
cp "$PREPARED"/data-bin/{valid,test}*."$SOURCE-$TARGET".* "$OUTPUT/data-bin"
touch "$OUTPUT/data-bin/done"
