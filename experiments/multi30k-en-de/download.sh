#!/usr/bin/env bash
# Multi30k, task 1, English-German: raw text under the names that scripts/prepare.sh expects.
#
#   experiments/multi30k-en-de/download.sh --output DIR [--data-dir DIR]
#
#   --output DIR     receives train, valid, test_2016_flickr and test_2017_flickr, each .en and .de
#   --data-dir DIR   folder of the .gz files, which are downloaded unless they are there (default: $MULTI30K_DIR, else
#                    OUTPUT/archives)
#
# Every file is checked against its SHA-256, wherever it came from.
source "$(dirname "$0")/../../scripts/common.sh"

OUTPUT='' DATA_DIR=${MULTI30K_DIR:-}
options "$@"
need --output "$OUTPUT"
DATA_DIR=${DATA_DIR:-$OUTPUT/archives}
ADDRESS=https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw
mkdir -p "$OUTPUT"

while read -r checksum file; do
    name=${file%.gz}
    name=${name/#val./valid.}
    [[ -e $OUTPUT/$name ]] && continue
    fetch "$DATA_DIR" "$checksum" "$ADDRESS/$file"
    gunzip --stdout < "$DATA_DIR/$file" > "$OUTPUT/$name.part"
    mv "$OUTPUT/$name.part" "$OUTPUT/$name"
done <<'SUMS'
e1d89f49b9f003db6bb35c24382eb56531fec4e3840cb704cf36f0c0e192b62d train.en.gz
d71259ddb13479e1c9cac315c123493b7e97d2c996465b76d885a80a9e8daccd train.de.gz
0a9a01b4fd231cafeebea18983300016112dc919d3b26c5c74f6d6f388936aeb val.en.gz
c7c5fd8dde71846406de776f1c342f0c1e95e1c375e3bea7d52a77faec72e965 val.de.gz
4f32cb8118b90cd5189d141e34791f70c245315e17065ecf9b2af6ab57e747cf test_2016_flickr.en.gz
d9747e9ef1c1bf36bf4a0e43c0d0fba58cc55d6b2b8e388cc863cba02b043fea test_2016_flickr.de.gz
cb8c9ecb19ab3ae6d318e2c1aa36e4380261cb55fdad6c243f570e18c3a686bc test_2017_flickr.en.gz
6e64fad935924a74fbe5c3de6ee532e4e2ab12eaebe85f9a5d082cec9281a6b0 test_2017_flickr.de.gz
SUMS
