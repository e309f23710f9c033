#!/usr/bin/env bash
# Sequence-level distillation: translate the training sources with the teacher, and binarise the translations with the same
# dictionaries. An interrupted run repeats at most one shard.
#
#   scripts/translate.sh --prepared DIR --source LANG --target LANG --model MODEL --output DIR [options]
#
#   --prepared DIR     output of prepare.sh: pieces/ and data-bin/
#   --source LANG      source language
#   --target LANG      target language
#   --model MODEL      the teacher: a CTranslate2 folder (fast), or a fairseq checkpoint
#   --output DIR       receives shards/, distilled.json and data-bin/; finished output is kept
#   --beam N           beam size (default: 5)
#   --length-penalty P scores are divided by the length to this power (default: 1.0)
#   --n-best N         translations per source to select from (default: 1)
#   --select HOW       score, or nearest to the reference: bleu or chrf ("interpolation") (default: score)
#   --max-ratio R      drop translations longer or shorter than the source by more than this factor; 0: none (default: 0)
#   --real N           how often the real pairs occur in the result (default: 1)
#   --distilled N      how often the distilled pairs occur (default: 1)
#   --shards N         parts, decoded one by one (default: 16)
#   --only N           decode only this part, counted from 0, e.g. on another machine
#   --batch-tokens N   padded source tokens decoded together (default: 4096)
#   --threads N        worker processes for binarising (default: 2)
source "$(dirname "$0")/common.sh"

PREPARED='' SOURCE='' TARGET='' MODEL='' OUTPUT='' BEAM=5 LENGTH_PENALTY=1.0 N_BEST=1 SELECT=score MAX_RATIO=0 REAL=1
DISTILLED=1 SHARDS=16 ONLY='' BATCH_TOKENS=4096 THREADS=2
options "$@"
need --prepared "$PREPARED"; need --source "$SOURCE"; need --target "$TARGET"
need --model "$MODEL"; need --output "$OUTPUT"
described="--prepared $PREPARED --source $SOURCE --target $TARGET --model $MODEL --beam $BEAM --length-penalty \
$LENGTH_PENALTY --n-best $N_BEST --select $SELECT --max-ratio $MAX_RATIO --real $REAL --distilled $DISTILLED \
--shards $SHARDS"
# and of which teacher, and of which data
if [[ -d $MODEL ]]; then model=("$MODEL"/model.bin "$MODEL"/*vocabulary*); else model=("$MODEL"); fi
described+=$'\n'$(sha256sum "${model[@]}" "$PREPARED/pieces/train.$SOURCE" "$PREPARED/pieces/train.$TARGET" \
    "$PREPARED/data-bin/dict.$SOURCE.txt" "$PREPARED/data-bin/dict.$TARGET.txt")
same_options "$OUTPUT" "$described"
[[ -e $OUTPUT/data-bin/done ]] && { echo "translated already: $OUTPUT"; exit 0; }

mkdir -p "$OUTPUT"
if [[ ! -e $OUTPUT/options.txt ]]; then  # several machines may come to this at once
    echo "$described" > "$OUTPUT/options.txt.$HOSTNAME.$$"
    mv "$OUTPUT/options.txt.$HOSTNAME.$$" "$OUTPUT/options.txt"
fi
weightdistill distill "$MODEL" --data "$PREPARED/data-bin" --source "$PREPARED/pieces/train.$SOURCE" \
    --reference "$PREPARED/pieces/train.$TARGET" --output "$OUTPUT" --shards "$SHARDS" ${ONLY:+--only "$ONLY"} \
    --beam "$BEAM" --length-penalty "$LENGTH_PENALTY" --n-best "$N_BEST" --select "$SELECT" --max-ratio "$MAX_RATIO" \
    --real "$REAL" --distilled "$DISTILLED" --batch-tokens "$BATCH_TOKENS" --threads "${OMP_NUM_THREADS:-$THREADS}"
[[ -z $ONLY ]] || exit 0

rm -rf "$OUTPUT/data-bin" "$OUTPUT/pieces"
mkdir -p "$OUTPUT/pieces"
mv "$OUTPUT/source" "$OUTPUT/pieces/train.$SOURCE"
mv "$OUTPUT/target" "$OUTPUT/pieces/train.$TARGET"
fairseq-preprocess --source-lang "$SOURCE" --target-lang "$TARGET" --trainpref "$OUTPUT/pieces/train" \
    --srcdict "$PREPARED/data-bin/dict.$SOURCE.txt" --tgtdict "$PREPARED/data-bin/dict.$TARGET.txt" \
    --destdir "$OUTPUT/data-bin" --workers "$THREADS"
cp "$PREPARED"/data-bin/{valid,test}*."$SOURCE-$TARGET".* "$OUTPUT/data-bin"
touch "$OUTPUT/data-bin/done"
