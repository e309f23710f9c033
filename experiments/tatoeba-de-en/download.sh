#!/usr/bin/env bash
# Tatoeba German-English (manythings.org, 2018-05-13): 169,813 short pairs, cut so that no sentence is in two parts.
#
#   experiments/tatoeba-de-en/download.sh --output DIR [--data-dir DIR] [--archives DIR]
#
#   --output DIR     receives train, valid and test, each .de and .en
#   --data-dir DIR   a folder with train.de.gz and train.en.gz (default: $TATOEBA_DIR, else they are made of a download)
#   --archives DIR   folder of the archive, which is downloaded unless it is there (default: OUTPUT/archives)
#
# The text is checked against its SHA-256, wherever it came from.
source "$(dirname "$0")/../../scripts/common.sh"

OUTPUT='' DATA_DIR=${TATOEBA_DIR:-} ARCHIVES=''
options "$@"
need --output "$OUTPUT"
HERE=$(cd "$(dirname "$0")" && pwd)
ADDRESS=https://raw.githubusercontent.com/rioyshky/translation/de48b7027f7318d77010a6e08ed928c10748c23d/deu-eng.zip
pairs=$OUTPUT/pairs
mkdir -p "$pairs"
if [[ -n $DATA_DIR ]]; then
    for language in de en; do gunzip --stdout "$DATA_DIR/train.$language.gz" > "$pairs/train.$language"; done
else
    ARCHIVES=${ARCHIVES:-$OUTPUT/archives}
    fetch "$ARCHIVES" - "$ADDRESS"
    python -m zipfile -e "$ARCHIVES/deu-eng.zip" "$pairs"
    cut -f 1 "$pairs/deu.txt" | tr -d '\r' > "$pairs/train.en"
    cut -f 2 "$pairs/deu.txt" | tr -d '\r' > "$pairs/train.de"
fi
(cd "$pairs" && sha256sum --check --quiet) <<'SUMS' || die "the text is not that of 2018-05-13; see its SHA-256 in $0"
7948e7d621a2e97c550123dbd174784894e83e6e140cf72e400d4ce5170cdce1  train.en
78b90b42ef51b2809d5629f803bba882e01c0fe6435ee9c2928deb5cc7ea2ad6  train.de
SUMS
python "$HERE/split.py" --pairs "$pairs" --output "$OUTPUT" --held-out 1500 --seed 1
rm -r "$pairs"
