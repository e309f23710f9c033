#!/usr/bin/env bash
# Write a little data for a recipe in miniature, in the form in which the recipe takes your data: the invented languages of
# experiments/toy, or a part of real data that resembles the recipe's.
#
#   experiments/smoke_data.sh --recipe NAME --output DIR [--data-dir DIR]
#
#   --recipe NAME    whose data
#   --output DIR     receives the text, or for NIST the folder of corpora and its tables; and the vocabulary's size
#   --data-dir DIR   holds en-ro/ and newstest/, tatoeba-de-en/ and newstest/, or tvsub-sgm/ (default: invented languages)
source "$(dirname "$0")/../scripts/common.sh"

RECIPE='' OUTPUT='' DATA_DIR=''
options "$@"
need --recipe "$RECIPE"; need --output "$OUTPUT"
mkdir -p "$OUTPUT"

# take FILE [N]: its text, the first N lines (a pipe that is closed early would end the script)
take() { gunzip --stdout "$DATA_DIR/$1" | awk -v limit="${2:-0}" '!limit || NR <= limit'; }

# toy SOURCE TARGET TEST: the invented languages under the names of real ones
toy() {
    python "$ROOT/experiments/toy/corpus.py" --output "$OUTPUT/toy" --seed 1 --train 4000 --valid 100 --test 100
    for side in "src $1" "tgt $2"; do
        read -r invented language <<< "$side"
        mv "$OUTPUT/toy/train.$invented" "$OUTPUT/train.$language"
        mv "$OUTPUT/toy/valid.$invented" "$OUTPUT/valid.$language"
        mv "$OUTPUT/toy/test.$invented" "$OUTPUT/$3.$language"
    done
    echo 700 > "$OUTPUT/vocabulary"
}

# sgm KIND LANGUAGE SYSTEM < TEXT: a set of NIST's
sgm() {
    echo "<$1 setid=\"smoke\" srclang=\"Chinese\" trglang=\"English\"><DOC docid=\"one\" sysid=\"$2\">"
    sed 's/&/\&amp;/g; s/</\&lt;/g' | awk '{ printf "<seg id=%d> %s </seg>\n", NR, $0 }'
    echo "</DOC></$1>"
}

case $RECIPE in
    wmt16-en-ro)
        if [[ -z $DATA_DIR ]]; then toy en ro newstest2016; else
            for language in en ro; do
                for corpus in tatoeba ro-sts.train mlqe-pe; do take "en-ro/$corpus.$language.gz"; done > "$OUTPUT/train.$language"
                take "en-ro/ro-sts.dev.$language.gz" 200 > "$OUTPUT/valid.$language"
                take "newstest/newstest2016.en-ro.$language.gz" 200 > "$OUTPUT/newstest2016.$language"
            done
            echo 2000 > "$OUTPUT/vocabulary"
        fi ;;
    wmt14-en-de-*)
        if [[ -z $DATA_DIR ]]; then toy en de newstest2014; else
            # the corpus is sorted by length: every eighth pair
            for language in en de; do
                take "tatoeba-de-en/train.$language.gz" | awk 'NR % 8 == 0' > "$OUTPUT/train.$language"
                take "newstest/newstest2013.en-de.$language.gz" 200 > "$OUTPUT/valid.$language"
                take "newstest/newstest2014.en-de.$language.gz" 200 > "$OUTPUT/newstest2014.$language"
            done
            echo 2000 > "$OUTPUT/vocabulary"
        fi ;;
    nist12-zh-en)
        if [[ -z $DATA_DIR ]]; then
            toy zh en test
        else
            # one set with one reference is all there is
            weightdistill read-sgm "$DATA_DIR/tvsub-sgm/dev_trg.sgm" --output "$OUTPUT/all" --source zh --target en
            cp "$DATA_DIR/tvsub-sgm/dev.raw.zh" "$OUTPUT/all.zh"
            for language in zh en; do
                sed 886q "$OUTPUT/all.$language" > "$OUTPUT/train.$language"
                sed -n 887,986p "$OUTPUT/all.$language" > "$OUTPUT/valid.$language"
                sed -n 987,1086p "$OUTPUT/all.$language" > "$OUTPUT/test.$language"
            done
            echo 2600 > "$OUTPUT/vocabulary"
        fi
        for set in valid MT02 MT03 MT04 MT05 MT08; do
            text=$OUTPUT/test
            [[ $set != valid ]] || text=$OUTPUT/valid
            iconv --to-code gb18030 "$text.zh" | LC_ALL=C sgm srcset '' > "$OUTPUT/$set-src.sgm"
            for number in 1 2 3 4; do sgm refset "$number" < "$text.en" > "$OUTPUT/$set-ref.$number.sgm"; done
            printf '%s\t%s-src.sgm\t%s-ref.*.sgm\n' "$set" "$set" "$set"
        done > "$OUTPUT/sets.tsv"
        printf 'train\ttrain.zh\ttrain.en\tUTF-8\n' > "$OUTPUT/corpora.tsv" ;;
    *) die "--recipe must be a recipe of experiments/, but is $RECIPE" ;;
esac
