#!/usr/bin/env bash
# Collect free English-Romanian text: Tatoeba, RO-STS and MLQE-PE (33,552 training pairs); the test sets are RO-STS's and
# newstest2016.
#
#   experiments/en-ro/collect.sh --output DIR [--data-dir DIR]
#
#   --output DIR     receives train, valid, test and newstest2016, each .en and .ro, and counts.json
#   --data-dir DIR   holds en-ro/ (tatoeba, ro-sts.train, ro-sts.dev, ro-sts.test and mlqe-pe, each .en.gz and .ro.gz) and
#                    newstest/ (newstest2016.en-ro.en.gz and .ro.gz) (default: $EN_RO_DIR)
#
# They come from github.com: dumitrescustefan/RO-STS, sheffieldnlp/mlqe-pe (post-edited references), Tatoeba's ron-eng.zip
# in Tron404/NLP_GroupFinalProject, and Helsinki-NLP/OPUS-MT-testsets. The text is checked against its SHA-256.
source "$(dirname "$0")/../../scripts/common.sh"

OUTPUT='' DATA_DIR=${EN_RO_DIR:-}
options "$@"
need --output "$OUTPUT"; need '--data-dir (or EN_RO_DIR)' "$DATA_DIR"
text=$OUTPUT/text
mkdir -p "$text"
for language in en ro; do
    for name in tatoeba ro-sts.train ro-sts.dev ro-sts.test mlqe-pe; do
        gunzip --stdout "$DATA_DIR/en-ro/$name.$language.gz" > "$text/$name.$language"
    done
    gunzip --stdout "$DATA_DIR/newstest/newstest2016.en-ro.$language.gz" > "$text/newstest2016.$language"
done
(cd "$text" && sha256sum --check --quiet) <<'SUMS' || die "the text is not what the results were measured on"
ed5bee076e58101d3fd76e7d629ad12aef43836aefb68bbc58a47e4fc9e8bf03  mlqe-pe.en
96f74173c8060f2e009622ffa2e51ce899f4707d0cb7f5e4cf0a26c4c6a76de0  mlqe-pe.ro
e883f089e3ee88cecd40a509aa743ae60be2d72c37cf1a97462f31855ab5c90b  newstest2016.en
f19bbf43c1de16c43ccaf8a05aacac3113a0cd2148d9f674c0fec118878abb18  newstest2016.ro
219fa6df88e71a829cb31bc40f7cde7258e86c532d43ed7e0b1e2aaec5281ebc  ro-sts.dev.en
04be055b3b073483b5d36be54d86b3809c14edd707b16e909e23a98098b760c0  ro-sts.dev.ro
9088e52b259c5daf91ae830369ab51c3de0a1e377dd5ae17af6a3e75e1f81ff0  ro-sts.test.en
81df186cfe2763d21d05a8be6f5a9146ed3eaac9c6080b5a630309036e23c529  ro-sts.test.ro
4f977090eb8beeb61a76876b1ba60462104633979f2c13f439fb1134a43648a8  ro-sts.train.en
ea7ca3d0ca6c2c0ffa70413a2fe006a0aca55c9f467c6f30a4b6dcc731307838  ro-sts.train.ro
b4e7bef26a2ce946500d5f6106fd98ce145ae0ec784deb6df7bf2ea1ee5e0c86  tatoeba.en
a9635ca845b7ee1ba67266d8f25c39552cd9de3f820152f4e1f2cd9e25a032ff  tatoeba.ro
SUMS
# What is in a test set must not be in training.
for language in en ro; do
    for name in tatoeba ro-sts.train mlqe-pe; do cat "$text/$name.$language"; done > "$text/all.$language"
done
paste "$text/all.en" "$text/all.ro" | awk -F '\t' '
    FNR == NR { held[$0] = 1; next }
    !($1 in held)' <(cat "$text"/{ro-sts.dev,ro-sts.test,newstest2016}.en) - > "$text/kept"
echo "train: $(wc -l < "$text/all.en") pairs, $(wc -l < "$text/kept") of them with a source that is in no other set"
cut -f 1 "$text/kept" > "$text/train.en"
cut -f 2 "$text/kept" > "$text/train.ro"
"$ROOT/scripts/clean.sh" --train "$text/train" --valid "$text/ro-sts.dev" \
    --test "test=$text/ro-sts.test" --test "newstest2016=$text/newstest2016" --source en --target ro --output "$OUTPUT" \
    --max-length 100 --max-ratio 3
rm -r "$text"
