#!/usr/bin/env bash
# Segment parallel text into subword pieces, and binarise it for fairseq.
#
#   scripts/prepare.sh --raw DIR --source LANG --target LANG --output DIR [options]
#
#   --raw DIR        holds train.LANG and valid.LANG, and one file per test set and language (NAME.LANG); a set with several
#                    references has NAME.LANG.0, NAME.LANG.1, ..., of which the first is binarised
#   --source LANG    source language, the file name's ending
#   --target LANG    target language
#   --output DIR     receives spm.model, pieces/ and data-bin/; finished output of the same text is kept
#   --tests "A B"    names of the test sets (default: test)
#   --vocab-size N   size of the joint SentencePiece BPE vocabulary (default: 32000)
#   --threads N      worker processes (default: 2)
source "$(dirname "$0")/common.sh"

RAW='' SOURCE='' TARGET='' OUTPUT='' TESTS=test VOCAB_SIZE=32000 THREADS=2
options "$@"
need --raw "$RAW"; need --source "$SOURCE"; need --target "$TARGET"; need --output "$OUTPUT"
described="--raw $RAW --source $SOURCE --target $TARGET --tests '$TESTS' --vocab-size $VOCAB_SIZE"
[[ ! -e $OUTPUT/spm.model && ! -e $OUTPUT/data-bin/done ]] || same_options "$OUTPUT" "$described"

# Bad text is refused here, by file and line, before anything is built on it.
text=()
for split in train valid $TESTS; do
    readarray -t files < <(references "$RAW/$split.$TARGET")
    lines=$(wc -l < "$RAW/$split.$SOURCE") || die "$RAW/$split.$SOURCE: missing; --raw needs it"
    for file in "$RAW/$split.$SOURCE" "${files[@]}"; do
        text+=("$file")
        [[ -s $file ]] || die "$file: missing or empty; --raw needs $split.$SOURCE and $split.$TARGET"
        require_text "$file"
        [[ $(wc -l < "$file") -eq $lines ]] \
            || die "$RAW/$split: $lines lines of $SOURCE but $(wc -l < "$file") of $TARGET; the sides must align"
    done
    [[ ${#files[@]} -gt 0 ]] || die "$RAW/$split.$TARGET: missing; --raw needs it"
    echo "$split: $lines sentences, ${#files[@]} translations of each"
done

sums=$(sha256sum "${text[@]}")
if [[ -e $OUTPUT/text.sha256 && $(< "$OUTPUT/text.sha256") != "$sums" ]]; then
    rm -f "$OUTPUT/spm.model" "$OUTPUT/data-bin/done"
fi
mkdir -p "$OUTPUT/pieces"
echo "$sums" > "$OUTPUT/text.sha256"
[[ -e $OUTPUT/data-bin/done ]] && { echo "prepared already: $OUTPUT"; exit 0; }

echo "$described" > "$OUTPUT/options.txt"
rm -rf "$OUTPUT/data-bin"
if [[ ! -e $OUTPUT/spm.model ]]; then
    python -m weightdistill.text.subwords train "$OUTPUT/spm" "$VOCAB_SIZE" "$RAW/train.$SOURCE" "$RAW/train.$TARGET"
fi
for split in train valid $TESTS; do
    for lang in "$SOURCE" "$TARGET"; do
        readarray -t files < <(references "$RAW/$split.$lang")
        python -m weightdistill.text.subwords encode "$OUTPUT/spm.model" < "${files[0]}" > "$OUTPUT/pieces/$split.$lang"
    done
done

test_prefixes=$(for name in $TESTS; do echo -n "$OUTPUT/pieces/$name,"; done)
fairseq-preprocess --source-lang "$SOURCE" --target-lang "$TARGET" --joined-dictionary \
    --trainpref "$OUTPUT/pieces/train" --validpref "$OUTPUT/pieces/valid" --testpref "${test_prefixes%,}" \
    --destdir "$OUTPUT/data-bin" --workers "$THREADS"
touch "$OUTPUT/data-bin/done"
