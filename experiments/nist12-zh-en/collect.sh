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
    compgen -G "$LDC/$1" || die "$LDC/$1: no such file; adapt the tables in $TABLES to your folders"
}

# rows TABLE: its lines but for comments
rows() {
    [[ -e $TABLES/$1 ]] || die "$TABLES/$1: no such file"
    grep -v '^#' "$TABLES/$1"
}

text=$OUTPUT/collected
mkdir -p "$text"
rm -f "$text"/*
train='' valid='' tests=''
while IFS=$'\t' read -r corpus zh en encoding; do
    for language in zh en; do
        # each kind of file in one encoding: GBK for old Chinese files, UTF-8 for new ones
        matching "${!language}" > "$text/files"
        while read -r file; do
            case $file in *.gz) gunzip --stdout "$file" ;; *) cat "$file" ;; esac
        done < "$text/files" | iconv --from-code "$([[ $language == zh ]] && echo "$encoding" || echo UTF-8)" --to-code UTF-8 \
            > "$text/$corpus.$language" || die "$corpus: its $language is not $encoding; mend $TABLES/corpora.tsv"
    done
    train+="$text/$corpus "
done < <(rows corpora.tsv)
while IFS=$'\t' read -r name source references; do
    matching "$source" > "$text/files"
    for pattern in $references; do matching "$pattern" >> "$text/files"; done
    readarray -t files < "$text/files"
    weightdistill read-sgm "${files[@]}" --output "$text/$name" --source zh --target en
    if [[ $name == valid ]]; then valid=$text/valid; else tests+="$name=$text/$name "; fi
done < <(rows sets.tsv)
"$ROOT/scripts/clean.sh" --train "$train" --valid "$valid" --tests "$tests" --source zh --target en --output "$OUTPUT"
rm -r "$text"
