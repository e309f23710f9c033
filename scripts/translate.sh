#!/usr/bin/env bash
# Sequence-level distillation: translate the training sources, and more text if there is, with the teacher, and binarise the
# translations with the same dictionaries. An interrupted run repeats at most one shard.
#
#   scripts/translate.sh --prepared DIR --source LANG --target LANG --model MODEL --output DIR [options]
#
#   --prepared DIR     output of prepare.sh: pieces/ and data-bin/
#   --source LANG      source language
#   --target LANG      target language
#   --model MODEL      the teacher: a CTranslate2 folder (fast), or a fairseq checkpoint
#   --output DIR       receives shards/, distilled.json and data-bin/; finished output is kept
#   --sources FILE     further sources in pieces, without references; gzipped if it ends in .gz. Lines that are empty, too
#                      long or repeated are left out and counted
#   --beam N           beam size (default: 5)
#   --length-penalty P scores are divided by the length to this power (default: 1.0)
#   --n-best N         translations per source to select from (default: 1)
#   --samples N        sample so many translations per source, in place of beam search
#   --sampling-top-k K sample among so many likeliest pieces at each step; 0: all (default: 10)
#   --sampling-temperature T
#                      divides the logits; below 1: likelier samples (default: 1)
#   --seed N           of the samples (default: 1)
#   --select HOW       score, or nearest to the reference: bleu or chrf ("interpolation"), or all (default: score, or with
#                      --samples all)
#   --max-ratio R      drop translations longer or shorter than the source by more than this factor; 0: none (default: 0)
#   --real N           how often the real pairs occur in the result (default: 1)
#   --distilled N      how often the distilled pairs occur (default: 1)
#   --shards N         parts, decoded one by one (default: 16)
#   --only N           decode only this part, counted from 0, e.g. on another machine
#   --batch-tokens N   padded source tokens decoded together (default: 4096)
#   --threads N        worker processes for binarising (default: 2)
source "$(dirname "$0")/common.sh"

PREPARED='' SOURCE='' TARGET='' MODEL='' OUTPUT='' SOURCES='' BEAM=5 LENGTH_PENALTY=1.0 N_BEST=1 SAMPLES=''
SAMPLING_TOP_K='' SAMPLING_TEMPERATURE='' SEED='' SELECT='' MAX_RATIO=0 REAL=1 DISTILLED=1 SHARDS=16 ONLY=''
BATCH_TOKENS=4096 THREADS=2
options "$@"
need --prepared "$PREPARED"; need --source "$SOURCE"; need --target "$TARGET"
need --model "$MODEL"; need --output "$OUTPUT"
if [[ -z $SELECT && -n $SAMPLES ]]; then SELECT=all; fi
SELECT=${SELECT:-score}
separate --output="$OUTPUT/pieces" --output="$OUTPUT/data-bin" -- --prepared="$PREPARED/pieces" \
    --prepared="$PREPARED/data-bin" --model="$MODEL" ${SOURCES:+--sources="$SOURCES"}
described="--prepared $PREPARED --source $SOURCE --target $TARGET --model $MODEL --beam $BEAM --length-penalty \
$LENGTH_PENALTY --n-best $N_BEST --select $SELECT --max-ratio $MAX_RATIO --real $REAL --distilled $DISTILLED \
--shards $SHARDS"
more=()
if [[ -n $SOURCES ]]; then more+=(--sources "$SOURCES"); fi
if [[ -n $SAMPLES ]]; then more+=(--samples "$SAMPLES"); fi
if [[ -n $SAMPLING_TOP_K ]]; then more+=(--sampling-top-k "$SAMPLING_TOP_K"); fi
if [[ -n $SAMPLING_TEMPERATURE ]]; then more+=(--sampling-temperature "$SAMPLING_TEMPERATURE"); fi
if [[ -n $SEED ]]; then more+=(--seed "$SEED"); fi
described+=${more[*]:+ ${more[*]}}
# and of which teacher, and of which data
if [[ -d $MODEL ]]; then model=("$MODEL"/model.bin "$MODEL"/*vocabulary*); else model=("$MODEL"); fi
prepared=("$PREPARED/pieces/train.$SOURCE" "$PREPARED/pieces/train.$TARGET" "$PREPARED/data-bin/dict.$SOURCE.txt" \
    "$PREPARED/data-bin/dict.$TARGET.txt")
for file in "${model[@]}"; do
    [[ -f $file ]] || die "$file: no such file; --model needs a CTranslate2 folder or a fairseq checkpoint"
done
for file in "${prepared[@]}"; do
    [[ -f $file ]] || die "$file: no such file; --prepared needs the output of prepare.sh for --source and --target"
done
[[ -z $SOURCES || -f $SOURCES ]] || die "$SOURCES: no such file; --sources needs a text file of pieces"
described+=$'\n'$(sha256sum "${model[@]}" "${prepared[@]}" ${SOURCES:+"$SOURCES"})
same_options "$OUTPUT" "$described"
[[ -e $OUTPUT/data-bin/done ]] && { echo "translated already: $OUTPUT"; exit 0; }

mkdir -p "$OUTPUT"
if [[ ! -e $OUTPUT/options.txt ]]; then  # several machines may come to this at once
    record "$OUTPUT/options.txt" "$described"
fi
weightdistill translate-corpus "$MODEL" --data "$PREPARED/data-bin" --source "$PREPARED/pieces/train.$SOURCE" \
    --reference "$PREPARED/pieces/train.$TARGET" --output "$OUTPUT" --shards "$SHARDS" ${ONLY:+--only "$ONLY"} \
    --beam "$BEAM" --length-penalty "$LENGTH_PENALTY" --n-best "$N_BEST" --select "$SELECT" --max-ratio "$MAX_RATIO" \
    --real "$REAL" --distilled "$DISTILLED" --batch-tokens "$BATCH_TOKENS" --threads "${OMP_NUM_THREADS:-$THREADS}" \
    "${more[@]}" | sed '/^next: /d'  # which follows here
[[ -z $ONLY ]] || exit 0

rm -rf "$OUTPUT/data-bin" "$OUTPUT/pieces"
mkdir -p "$OUTPUT/pieces"
mv "$OUTPUT/source" "$OUTPUT/pieces/train.$SOURCE"
mv "$OUTPUT/target" "$OUTPUT/pieces/train.$TARGET"
preprocess --source-lang "$SOURCE" --target-lang "$TARGET" --trainpref "$OUTPUT/pieces/train" \
    --srcdict "$PREPARED/data-bin/dict.$SOURCE.txt" --tgtdict "$PREPARED/data-bin/dict.$TARGET.txt" \
    --destdir "$OUTPUT/data-bin" --workers "$THREADS"
cp "$PREPARED"/data-bin/{valid,test}*."$SOURCE-$TARGET".* "$OUTPUT/data-bin"
rm -f "$OUTPUT"/options.txt.*.tmp  # what killed runs left
touch "$OUTPUT/data-bin/done"
