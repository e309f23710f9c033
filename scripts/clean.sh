#!/usr/bin/env bash
# Turn published corpora into the text that prepare.sh reads: normalise punctuation (sacremoses), unify Romanian letters, segment
# Chinese (jieba), and filter training pairs. OUTPUT/counts.json says how many pairs were dropped and why, and
# OUTPUT/counts.NAME.json the same for each corpus.
#
#   scripts/clean.sh --train PREFIX --valid PREFIX --test NAME=PREFIX --source LANG --target LANG --output DIR [options]
#
#   --train PREFIX       parallel text, PREFIX.LANG or PREFIX.LANG.gz for both languages, one sentence per line (may be repeated)
#   --valid PREFIX       the validation set, PREFIX.LANG for both languages; its references may be PREFIX.LANG.0, ...
#   --test NAME=PREFIX   a test set in the same form, and the name for it (may be repeated)
#   --source LANG        source language
#   --target LANG        target language
#   --output DIR         receives train, valid and the test sets, each with both languages as endings; also the untouched
#                        sources of the sets, NAME.SOURCE.original, for metrics that read sources
#   --segment HOW        segment Chinese into words (jieba) or characters (default: jieba)
#   --max-length N       longest training sentence in words; 0: no limit (default: 175)
#   --max-ratio R        largest ratio of the two lengths in training; 0: no limit (default: 9, as in Moses)
#   --threads N          processes of sacremoses (default: 2)
#
# Training drops pairs with an empty side and repeated pairs. Validation and test sets lose nothing: an empty line there is an
# error. Only sources are normalised, because students must write what the references have.
source "$(dirname "$0")/common.sh"

TRAIN='' VALID='' TEST='' SOURCE='' TARGET='' OUTPUT='' SEGMENT=jieba MAX_LENGTH=175 MAX_RATIO=9 THREADS=2
options "$@"
need --train "$TRAIN"; need --valid "$VALID"; need --test "$TEST"
need --source "$SOURCE"; need --target "$TARGET"; need --output "$OUTPUT"
[[ $SEGMENT == jieba || $SEGMENT == characters ]] || die "--segment must be jieba or characters, but is $SEGMENT"
if [[ $SOURCE == zh && $SEGMENT == jieba ]]; then
    python -c 'import jieba' 2> /dev/null \
        || die "--segment jieba needs the package jieba; install weightdistill[chinese], or take --segment characters"
fi

# letters LANG: Romanian s and t with a comma below; older texts have a cedilla
letters() {
    case $1 in
        ro) sed 's/Ş/Ș/g; s/ş/ș/g; s/Ţ/Ț/g; s/ţ/ț/g' ;;
        *) cat ;;
    esac
}

# normalised LANG: a source, from standard input to standard output, line by line. On a full disk, cat says so in one line;
# sacremoses would in a traceback.
normalised() {
    case $1 in
        zh) if [[ $SEGMENT == jieba ]]; then python -m jieba --quiet --delimiter ' '; else python -c '
import sys
from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh
tokenise = TokenizerZh()
for line in sys.stdin:
    print(tokenise(line.rstrip("\n")))'; fi ;;
        *) letters "$1" | sacremoses --quiet --language "$1" --processes "$THREADS" normalize --normalize-quote-commas \
            --normalize-numbers --remove-control-chars ;;
    esac | cat
}

# text FILE: its lines, whether it is gzipped or not
text() {
    if [[ -e $1 ]]; then cat "$1"; elif [[ -e $1.gz ]]; then gunzip --stdout "$1.gz"; else die "$1: no such file"; fi
}

# one_ending: lines without a carriage return, at which Python would end them
one_ending() {
    sed 's/\r$//; s/\r/ /g'
}

readarray -t prefixes <<< "$TRAIN"
readarray -t sets <<< "valid=$VALID"$'\n'"$TEST"
written=("--output=$OUTPUT/unclean") read=()
for prefix in "${prefixes[@]}"; do written+=("--output=$OUTPUT/counts.$(basename "$prefix").json"); done
for name in train "${sets[@]%%=*}"; do
    for ending in "$SOURCE" "$SOURCE.original" "$TARGET"{,.{0..9}}; do written+=("--output=$OUTPUT/$name.$ending"); done
done
for prefix in "${prefixes[@]}" "${sets[@]#*=}"; do
    for ending in "$SOURCE" "$TARGET"{,.{0..9}}; do read+=("the text=$prefix.$ending"); done
done
separate "${written[@]}" -- "${read[@]}"

work=$OUTPUT/unclean
rm -rf "$work"  # what an interrupted run left
mkdir -p "$work/set"
# Checked before anything is joined: one corpus whose sides do not align would shift all that follow it.
for prefix in "${prefixes[@]}"; do
    name=$work/corpus  # one at a time
    for language in "$SOURCE" "$TARGET"; do text "$prefix.$language" > "$name.raw.$language"; done
    weightdistill clean --source "$name.raw.$SOURCE" --target "$name.raw.$TARGET" --output-source "$name.$SOURCE" \
        --output-target "$name.$TARGET" --drop-empty --json "$OUTPUT/counts.$(basename "$prefix").json"
    normalised "$SOURCE" < "$name.$SOURCE" >> "$work/joined.$SOURCE"
    letters "$TARGET" < "$name.$TARGET" >> "$work/joined.$TARGET"
    rm "$name".{raw.,}{"$SOURCE","$TARGET"}
done
weightdistill clean --source "$work/joined.$SOURCE" --target "$work/joined.$TARGET" \
    --output-source "$OUTPUT/train.$SOURCE" --output-target "$OUTPUT/train.$TARGET" \
    --max-length "$MAX_LENGTH" --max-ratio "$MAX_RATIO" --deduplicate --drop-empty --json "$OUTPUT/counts.json"
for set in "${sets[@]}"; do
    name=${set%%=*} prefix=${set#*=}
    text "$prefix.$SOURCE" > "$work/$name.$SOURCE"
    require_text "$work/$name.$SOURCE"
    one_ending < "$work/$name.$SOURCE" > "$work/set/$name.$SOURCE.original"
    normalised "$SOURCE" < "$work/set/$name.$SOURCE.original" > "$work/set/$name.$SOURCE"
    readarray -t files < <(references "$prefix.$TARGET")
    [[ ${#files[@]} -gt 0 ]] || die "$prefix.$TARGET: no such file"
    for file in "${files[@]}"; do
        require_text "$file"
        # its number, if there are several
        one_ending < "$file" | letters "$TARGET" > "$work/set/$name.$TARGET${file#"$prefix.$TARGET"}"
    done
    rm -f "$OUTPUT/$name.$TARGET" "$OUTPUT/$name.$TARGET".[0-9]  # of other references, maybe more
    mv "$work/set"/* "$OUTPUT"
    echo "$name: $(wc -l < "$OUTPUT/$name.$SOURCE") sentences, ${#files[@]} translations of each"
done
rm -r "$work"
