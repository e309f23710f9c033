#!/usr/bin/env bash
# NIST12 Chinese-English: parallel text from your LDC folders (1.8 million pairs), MT06 for validation, MT02 to MT08 as tests
# with four references each.
#
#   experiments/nist12-zh-en/collect.sh --output DIR [--ldc DIR] [--tables DIR] [--segment HOW]
#
#   --output DIR   receives train, valid and the test sets; sources .zh segmented, references .en.0 to .en.3; counts.json
#   --ldc DIR      holds the folders of the LDC's corpora and of NIST's test sets (default: $LDC_DIR)
#   --tables DIR   holds corpora.tsv and sets.tsv, which say what to take from there (default: $LDC_TABLES, else the folder of
#                  this script, whose tables you adapt to your folders)
#   --segment HOW  segment Chinese into words (jieba) or characters (default: jieba); set it in config.yaml's `raw`
source "$(dirname "$0")/../../scripts/common.sh"

OUTPUT='' LDC=${LDC_DIR:-} TABLES=${LDC_TABLES:-$(dirname "$0")} SEGMENT=jieba
options "$@"
need --output "$OUTPUT"; need '--ldc (or LDC_DIR)' "$LDC"

# matching PATTERN: the files below --ldc, in alphabetical order
matching() {
    compgen -G "$LDC/$1" | LC_ALL=C sort || die "$LDC/$1: no such file; adapt the tables in $TABLES to your folders"
}

# rows TABLE: its lines but for comments
rows() {
    [[ -e $TABLES/$1 ]] || die "$TABLES/$1: no such file"
    grep -Ev '^(#|[[:space:]]*$)' "$TABLES/$1"
}

# simplified ENCODING: what is encoded in Big5 is in traditional characters, which the test sets do not have
simplified() {
    case ${1,,} in *big5* | cp950) opencc --config t2s ;; *) cat ;; esac
}

# gathered PREFIX ENCODINGS: writes the corpus whose files PREFIX.files lists as aligned text, PREFIX.zh and PREFIX.en. What an
# interrupted run has finished is kept.
gathered() {
    local zh=${2%%,*} en=UTF-8 described
    [[ $2 != *,* ]] || en=${2#*,}
    described="$2"$'\n'$(tr '\t' '\n' < "$1.files" | grep . | xargs --delimiter '\n' stat --dereference --format '%n %s %Y')
    [[ ! -e $1.done || $(< "$1.done") != "$described" ]] || return 0
    weightdistill read-ldc "$1.files" --encoding "$zh" --target-encoding "$en" --source zh --target en --output "$1" \
        || die "fix $TABLES/corpora.tsv, or those files"
    simplified "$zh" < "$1.zh" > "$1.simplified"
    mv "$1.simplified" "$1.zh"
    echo "$described" > "$1.done"
}

text=$OUTPUT/collected
mkdir -p "$text"
sets=()
rows corpora.tsv > "$text/corpora"
while IFS=$'\t' read -r corpus zh en encodings links; do
    matching "$zh" > "$text/zh"
    matching "$en" > "$text/en"
    if [[ -n $links ]]; then matching "$links" > "$text/links"; else sed 's/.*//' "$text/zh" > "$text/links"; fi
    for other in 'en English ones' 'links alignments'; do
        count=$(wc -l < "$text/${other%% *}")
        [[ $count -eq $(wc -l < "$text/zh") ]] || die "$corpus: $(wc -l < "$text/zh") Chinese files but $count ${other#* };" \
            "fix $TABLES/corpora.tsv"
    done
    paste "$text/zh" "$text/en" "$text/links" > "$text/$corpus.files"
    gathered "$text/$corpus" "$encodings"
    sets+=(--train "$text/$corpus")
done < "$text/corpora"
rows sets.tsv > "$text/sets"
while IFS=$'\t' read -r name source references encodings; do
    matching "$source" > "$text/files"
    read -ra patterns <<< "$references"
    for pattern in "${patterns[@]}"; do matching "$pattern" >> "$text/files"; done
    readarray -t files < "$text/files"
    encoding=()
    [[ -z $encodings ]] || encoding=(--encoding "${encodings%%,*}")
    [[ $encodings != *,* ]] || encoding+=(--reference-encoding "${encodings#*,}")
    weightdistill read-sgm "${files[@]}" --output "$text/$name" --source zh --target en "${encoding[@]}"
    if [[ $name == valid ]]; then sets+=(--valid "$text/valid"); else sets+=(--test "$name=$text/$name"); fi
done < "$text/sets"
"$ROOT/scripts/clean.sh" "${sets[@]}" --source zh --target en --output "$OUTPUT" \
    --segment "$SEGMENT"
rm -r "$text"
