#!/usr/bin/env bash
# NIST12 Chinese-English: parallel text from your LDC folders (1.8 million pairs), MT06 for validation, MT02 to MT08 as tests
# with four references each.
#
#   experiments/nist12-zh-en/collect.sh --output DIR [--ldc DIR] [--tables DIR]
#
#   --output DIR   receives train, valid and the test sets; sources .zh in words, references .en.0 to .en.3; counts.json
#   --ldc DIR      holds the folders of the LDC's corpora and of NIST's test sets (default: $LDC_DIR)
#   --tables DIR   holds corpora.tsv and sets.tsv, which say what to take from there (default: $LDC_TABLES, else the folder of
#                  this script, whose tables you adapt to your folders)
source "$(dirname "$0")/../../scripts/common.sh"

OUTPUT='' LDC=${LDC_DIR:-} TABLES=${LDC_TABLES:-$(dirname "$0")}
options "$@"
need --output "$OUTPUT"; need '--ldc (or LDC_DIR)' "$LDC"

# matching PATTERN: the files below --ldc, in alphabetical order
matching() {
    compgen -G "$LDC/$1" | LC_ALL=C sort || die "$LDC/$1: no such file; adapt the tables in $TABLES to your folders"
}

# rows TABLE: its lines but for comments
rows() {
    [[ -e $TABLES/$1 ]] || die "$TABLES/$1: no such file"
    grep -v '^#' "$TABLES/$1"
}

# converted FILE ENCODING: its text in UTF-8, maybe gunzipped
converted() {
    case $1 in *.gz) gunzip --stdout "$1" ;; *) cat "$1" ;; esac | iconv --from-code "$2" --to-code UTF-8
}

text=$OUTPUT/collected
rm -rf "$text"
mkdir -p "$text"
train='' valid='' tests=''
rows corpora.tsv > "$text/corpora"
while IFS=$'\t' read -r corpus zh en encoding; do
    matching "$zh" > "$text/zh"
    matching "$en" > "$text/en"
    [[ $(wc -l < "$text/zh") -eq $(wc -l < "$text/en") ]] \
        || die "$corpus: $(wc -l < "$text/zh") Chinese files but $(wc -l < "$text/en") English ones; mend $TABLES/corpora.tsv"
    number=0
    # File by file, so that clean.sh finds those whose lines do not align.
    while IFS=$'\t' read -r chinese english; do
        prefix=$text/$corpus.$((++number))
        converted "$chinese" "$encoding" > "$prefix.zh" || die "$chinese: not $encoding; mend $TABLES/corpora.tsv"
        converted "$english" UTF-8 > "$prefix.en" || die "$english: not UTF-8; convert it first"
        train+="$prefix "
    done < <(paste "$text/zh" "$text/en")
done < "$text/corpora"
rows sets.tsv > "$text/sets"
while IFS=$'\t' read -r name source references; do
    matching "$source" > "$text/files"
    for pattern in $references; do matching "$pattern" >> "$text/files"; done
    readarray -t files < "$text/files"
    weightdistill read-sgm "${files[@]}" --output "$text/$name" --source zh --target en
    if [[ $name == valid ]]; then valid=$text/valid; else tests+="$name=$text/$name "; fi
done < "$text/sets"
# Moses' own limit of lengths: a Chinese sentence has fewer words than its translation.
"$ROOT/scripts/clean.sh" --train "$train" --valid "$valid" --tests "$tests" --source zh --target en --output "$OUTPUT" \
    --max-ratio 9
rm -r "$text"
