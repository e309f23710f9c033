#!/usr/bin/env bash
# Translate the test sets with one model, and score the translations against the raw references.
#
#   scripts/evaluate.sh --model MODEL --prepared DIR --raw DIR --source LANG --target LANG --output DIR [options]
#
#   --model MODEL        fairseq checkpoint, or CTranslate2 folder
#   --prepared DIR       output of prepare.sh: text.json, pieces/ and data-bin/
#   --raw DIR            holds the references, NAME.LANG, or NAME.LANG.0, NAME.LANG.1, ... if there are several
#   --source LANG        source language
#   --target LANG        target language
#   --output DIR         receives NAME.pieces, NAME.txt and NAME.json for each test set; with --paper also NAME.paper.json
#   --text FILE          a text.json, or its folder, that makes text of the translations (default: that of --prepared)
#   --tests "A B"        names of the test sets (default: test)
#   --beam N             beam size (default: 5)
#   --length-penalty P   scores are divided by the length to this power (default: 1.0)
#   --search FILE        take both from what tune.sh chose
#   --no-vocabulary-map  predict from all words, although the model's folder has a vocabulary map
#   --metrics "A B"      of weightdistill evaluate (default: bleu chrf)
#   --comet FILE         checkpoint of the model for the metric comet
#   --paper "OPTIONS"    score a second time, as a paper did, e.g. "--lowercase --tokenize moses:en --smooth none"
source "$(dirname "$0")/common.sh"

MODEL='' PREPARED='' RAW='' SOURCE='' TARGET='' OUTPUT='' TEXT='' TESTS=test BEAM=5 LENGTH_PENALTY=1.0
SEARCH='' NO_VOCABULARY_MAP='' METRICS='bleu chrf' PAPER='' COMET=''
options "$@"
need --model "$MODEL"; need --prepared "$PREPARED"; need --raw "$RAW"
need --source "$SOURCE"; need --target "$TARGET"; need --output "$OUTPUT"

# What is missing is noticed before hours of translation.
[[ -e $MODEL ]] || die "$MODEL: no such file or folder; --model needs a checkpoint or a CTranslate2 folder"
if [[ -z $TEXT ]]; then
    TEXT=$PREPARED/text.json
    [[ -e $TEXT ]] || die "$TEXT: no such file; run prepare.sh again, which adds it, or name another with --text"
fi
written=() read=("--model=$MODEL" "--text=$TEXT")
for name in $TESTS; do
    written+=("--output=$OUTPUT/$name."{pieces,txt,json,paper.json})
    read+=("--prepared=$PREPARED/pieces/$name.$SOURCE" "--raw=$RAW/$name.$TARGET"{,.{0..9}})
done
separate "${written[@]}" -- "${read[@]}"
python -m weightdistill.text.processing files "$TEXT" "$SOURCE" "$TARGET" > /dev/null || exit
for name in $TESTS; do
    [[ -s $PREPARED/pieces/$name.$SOURCE ]] \
        || die "$PREPARED/pieces/$name.$SOURCE: missing or empty; prepare.sh makes it of each set in its --tests"
    references "$RAW/$name.$TARGET" > /dev/null
done
if [[ -n $SEARCH ]]; then
    [[ -e $SEARCH ]] || die "$SEARCH: no such file; tune.sh writes it"
    read -r BEAM LENGTH_PENALTY < <(python -c '
import json, sys
chosen = json.load(open(sys.argv[1]))["chosen"]
print(chosen["beam"], chosen["length_penalty"])' "$SEARCH") || die "$SEARCH: not what tune.sh writes"
fi
read -ra paper <<< "$PAPER"
read -ra metrics <<< "$METRICS"
mkdir -p "$OUTPUT"
for name in $TESTS; do
    weightdistill translate "$MODEL" --data "$PREPARED/data-bin" --pieces --input "$PREPARED/pieces/$name.$SOURCE" \
        --output "$OUTPUT/$name.pieces" --beam "$BEAM" --length-penalty "$LENGTH_PENALTY" \
        ${NO_VOCABULARY_MAP:+--no-vocabulary-map}
    python -m weightdistill.text.processing decode "$TEXT" < "$OUTPUT/$name.pieces" > "$OUTPUT/$name.txt.part"
    mv "$OUTPUT/$name.txt.part" "$OUTPUT/$name.txt"
    readarray -t references < <(references "$RAW/$name.$TARGET")
    weightdistill evaluate "$OUTPUT/$name.txt" "${references[@]/#/--reference=}" "${metrics[@]/#/--metric=}" \
        ${COMET:+--comet "$COMET" --source "$(original "$RAW/$name.$SOURCE")"} --json "$OUTPUT/$name.json"
    [[ -z $PAPER ]] || weightdistill evaluate "$OUTPUT/$name.txt" "${references[@]/#/--reference=}" --metric bleu \
        "${paper[@]}" --json "$OUTPUT/$name.paper.json"
done
