#!/usr/bin/env bash
# Segment parallel text into subword pieces, and binarise it for fairseq.
#
#   scripts/prepare.sh --raw DIR --source LANG --target LANG --output DIR [options]
#
#   --raw DIR           holds train.LANG and valid.LANG, and one file per test set and language (NAME.LANG); a set with
#                       several references has NAME.LANG.0, NAME.LANG.1, ..., of which the first is binarised
#   --source LANG       source language, the file name's ending
#   --target LANG       target language
#   --output DIR        receives text.json with its files, pieces/ and data-bin/; finished output of the same text is kept
#   --tests "A B"       names of the test sets (default: test)
#   --vocab-size N      size of the joint SentencePiece BPE vocabulary (default: 32000)
#   --text FILE         a text.json, or its folder: process text in this way, instead of training SentencePiece
#   --dictionaries DIR  a teacher's dict.SOURCE.txt and dict.TARGET.txt, to binarise with; needs --text. More than 1% of
#                       pieces that they lack are an error
#   --train-bin DIR     training data that fairseq-preprocess made, with its dictionaries, instead of train.LANG; needs --text
#   --threads N         worker processes (default: 2)
source "$(dirname "$0")/common.sh"

RAW='' SOURCE='' TARGET='' OUTPUT='' TESTS=test VOCAB_SIZE='' TEXT='' DICTIONARIES='' TRAIN_BIN='' THREADS=2
options "$@"
need --raw "$RAW"; need --source "$SOURCE"; need --target "$TARGET"; need --output "$OUTPUT"
described="--raw $RAW --source $SOURCE --target $TARGET --tests '$TESTS'"
if [[ -z $TEXT ]]; then
    [[ -z $DICTIONARIES$TRAIN_BIN ]] \
        || die "--dictionaries and --train-bin need the subword model that made them; give --text"
    described+=" --vocab-size ${VOCAB_SIZE:=32000}"
else
    [[ -z $VOCAB_SIZE ]] || die "--vocab-size is for a new subword model, but --text names one; leave out one of them"
    [[ -z $DICTIONARIES || -z $TRAIN_BIN ]] || die "--train-bin has dictionaries; leave out --dictionaries"
    described+=" --text $TEXT${DICTIONARIES:+ --dictionaries $DICTIONARIES}${TRAIN_BIN:+ --train-bin $TRAIN_BIN}"
fi
[[ ! -e $OUTPUT/text.json && ! -e $OUTPUT/spm.model && ! -e $OUTPUT/data-bin/done ]] || same_options "$OUTPUT" "$described"
read=()
for split in train valid $TESTS; do read+=("--raw=$RAW/$split."{"$SOURCE","$TARGET"}); done
if [[ -d $TEXT ]]; then read+=("--text=$TEXT/text.json"); elif [[ -n $TEXT ]]; then read+=("--text=$TEXT"); fi
separate --output="$OUTPUT"/{pieces,data-bin,text.json,spm.model,options.txt,text.sha256} -- "${read[@]}" \
    ${DICTIONARIES:+--dictionaries="$DICTIONARIES"} ${TRAIN_BIN:+--train-bin="$TRAIN_BIN"}
processing() { python -m weightdistill.text.processing "$@"; }

# Bad input is refused here, by file and line, before anything is built on it.
inputs=()
if [[ -n $TEXT ]]; then
    text_files=$(processing files "$TEXT" "$SOURCE" "$TARGET") || exit
    readarray -t inputs <<< "$text_files"
fi
dictionaries=${DICTIONARIES:-$TRAIN_BIN}
if [[ -n $dictionaries ]]; then
    for lang in "$SOURCE" "$TARGET"; do
        [[ -s $dictionaries/dict.$lang.txt ]] || die "$dictionaries/dict.$lang.txt: no such file; name the folder that has it"
        inputs+=("$dictionaries/dict.$lang.txt")
    done
fi
splits="train valid $TESTS"
if [[ -n $TRAIN_BIN ]]; then
    splits="valid $TESTS"
    [[ -e $TRAIN_BIN/train.$SOURCE-$TARGET.$SOURCE.idx || -e $TRAIN_BIN/train.$TARGET-$SOURCE.$SOURCE.idx ]] \
        || die "$TRAIN_BIN has no train.$SOURCE-$TARGET.$SOURCE.idx; --train-bin needs a folder of fairseq-preprocess"
    inputs+=("$TRAIN_BIN"/train*.{bin,idx})
fi
for split in $splits; do
    readarray -t files < <(references "$RAW/$split.$TARGET")
    lines=$(wc -l < "$RAW/$split.$SOURCE") || die "$RAW/$split.$SOURCE: missing; --raw needs it"
    for file in "$RAW/$split.$SOURCE" "${files[@]}"; do
        inputs+=("$file")
        [[ -s $file ]] || die "$file: missing or empty; --raw needs $split.$SOURCE and $split.$TARGET"
        require_text "$file"
        [[ $(wc -l < "$file") -eq $lines ]] \
            || die "$RAW/$split: $lines lines of $SOURCE but $(wc -l < "$file") of $TARGET; the sides must align"
    done
    [[ ${#files[@]} -gt 0 ]] || die "$RAW/$split.$TARGET: missing; --raw needs it"
    echo "$split: $lines sentences, ${#files[@]} translations of each"
done

sums=$(sha256sum "${inputs[@]}")
if [[ -e $OUTPUT/text.sha256 && $(< "$OUTPUT/text.sha256") != "$sums" ]]; then
    rm -f "$OUTPUT/spm.model" "$OUTPUT/text.json" "$OUTPUT/data-bin/done"
fi
mkdir -p "$OUTPUT/pieces"
record "$OUTPUT/text.sha256" "$sums"
record "$OUTPUT/options.txt" "$described"
if [[ ! -e $OUTPUT/text.json && -n $TEXT ]]; then
    processing copy "$TEXT" "$OUTPUT"
elif [[ ! -e $OUTPUT/text.json ]]; then
    [[ -e $OUTPUT/spm.model ]] || python -m weightdistill.text.subwords train "$OUTPUT/spm" "$VOCAB_SIZE" \
        "$RAW/train.$SOURCE" "$RAW/train.$TARGET"
    processing describe "$OUTPUT" "$SOURCE" "$TARGET" "$OUTPUT/spm.model"
fi
[[ -e $OUTPUT/data-bin/done ]] && { echo "prepared already: $OUTPUT"; exit 0; }

rm -rf "$OUTPUT/data-bin"
for side in source target; do
    if [[ $side == source ]]; then lang=$SOURCE; else lang=$TARGET; fi
    pieces=()
    for split in $splits; do
        readarray -t files < <(references "$RAW/$split.$lang")
        pieces+=("$OUTPUT/pieces/$split.$lang")
        processing encode "$OUTPUT" "$side" --workers "$THREADS" < "${files[0]}" > "$OUTPUT/pieces/$split.$lang"
    done
    [[ -z $dictionaries ]] || python -m weightdistill.text.coverage "$dictionaries/dict.$lang.txt" "$side" "${pieces[@]}"
done

train=(--trainpref "$OUTPUT/pieces/train")
vocabulary=(--joined-dictionary)
[[ -z $TRAIN_BIN ]] || train=()
[[ -z $dictionaries ]] \
    || vocabulary=(--srcdict "$dictionaries/dict.$SOURCE.txt" --tgtdict "$dictionaries/dict.$TARGET.txt")
test_prefixes=$(for name in $TESTS; do echo -n "$OUTPUT/pieces/$name,"; done)
preprocess --source-lang "$SOURCE" --target-lang "$TARGET" "${vocabulary[@]}" "${train[@]}" \
    --validpref "$OUTPUT/pieces/valid" --testpref "${test_prefixes%,}" --destdir "$OUTPUT/data-bin" --workers "$THREADS"
[[ -z $TRAIN_BIN ]] || python -m fairseq_plugins.binarised "$TRAIN_BIN" "$SOURCE" "$TARGET" "$OUTPUT"
rm -f "$OUTPUT"/{options.txt,text.sha256}.*.tmp  # what killed runs left
touch "$OUTPUT/data-bin/done"
