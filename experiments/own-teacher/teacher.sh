#!/usr/bin/env bash
# A teacher as many users of fairseq have one: Moses tokens, BPE codes of subword-nmt, and stock fairseq-train, without this
# project's plugin. Everything that it makes is then handed to `weightdistill distil`.
#
#   experiments/own-teacher/teacher.sh --raw DIR --output DIR [options] [-- FAIRSEQ-TRAIN OPTIONS]
#
#   --raw DIR       holds train.en, train.de, valid.en and valid.de (multi30k-en-de/download.sh writes them)
#   --output DIR    receives tokens/, pieces/, codes, data-bin/ and checkpoints/; what is there already is kept
#   --merges N      merge operations of the joint BPE codes (default: 6000)
#   -- ...          of the training, which come after those below
source "$(dirname "$0")/../../scripts/common.sh"

RAW='' OUTPUT='' MERGES=6000
options "$@"
need --raw "$RAW"; need --output "$OUTPUT"
mkdir -p "$OUTPUT"/{tokens,pieces}

for split in train valid; do
    for language in en de; do
        tokens=$OUTPUT/tokens/$split.$language
        [[ -e $tokens ]] || sacremoses --quiet --language "$language" tokenize --xml-escape < "$RAW/$split.$language" > "$tokens"
    done
done
[[ -e $OUTPUT/codes ]] || cat "$OUTPUT"/tokens/train.{en,de} | subword-nmt learn-bpe --symbols "$MERGES" > "$OUTPUT/codes"
for split in train valid; do
    for language in en de; do
        subword-nmt apply-bpe --codes "$OUTPUT/codes" < "$OUTPUT/tokens/$split.$language" > "$OUTPUT/pieces/$split.$language"
    done
done
[[ -e $OUTPUT/data-bin ]] || fairseq-preprocess --source-lang en --target-lang de --joined-dictionary \
    --trainpref "$OUTPUT/pieces/train" --validpref "$OUTPUT/pieces/valid" --destdir "$OUTPUT/data-bin"

fairseq-train "$OUTPUT/data-bin" --save-dir "$OUTPUT/checkpoints" --cpu --num-workers 0 --required-batch-size-multiple 1 \
    --arch transformer --encoder-layers 6 --decoder-layers 6 --encoder-embed-dim 128 --decoder-embed-dim 128 \
    --encoder-ffn-embed-dim 256 --decoder-ffn-embed-dim 256 --encoder-attention-heads 4 --decoder-attention-heads 4 \
    --encoder-normalize-before --decoder-normalize-before --share-all-embeddings --dropout 0.2 \
    --criterion label_smoothed_cross_entropy --label-smoothing 0.1 --optimizer adam --adam-betas '(0.9, 0.98)' \
    --clip-norm 1.0 --lr 1.5e-3 --lr-scheduler inverse_sqrt --warmup-updates 800 --max-tokens 1024 --max-epoch 14 \
    --no-epoch-checkpoints --seed 1 --log-format simple --log-interval 200 "${REST[@]}"
