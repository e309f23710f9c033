#!/usr/bin/env bash
# Choose beam size and length penalty for a model: those with the highest BLEU on the validation set.
#
#   scripts/tune.sh --model MODEL --prepared DIR --raw DIR --source LANG --target LANG --output FILE [options]
#
#   --model MODEL             CTranslate2 folder (fast), or fairseq checkpoint
#   --prepared DIR            output of prepare.sh: text.json, pieces/ and data-bin/
#   --raw DIR                 holds the references
#   --source LANG             source language
#   --target LANG             target language
#   --output FILE             JSON with all scores and the choice, for evaluate.sh --search
#   --text FILE               a text.json, or its folder, that makes text of the translations (default: that of --prepared)
#   --valid NAME              the validation set (default: valid)
#   --beams "A B"             beam sizes to choose from (default: 4 6)
#   --length-penalties "A B"  length penalties to choose from (default: 0.6 1.0 1.4)
source "$(dirname "$0")/common.sh"

MODEL='' PREPARED='' RAW='' SOURCE='' TARGET='' OUTPUT='' TEXT='' VALID=valid BEAMS='4 6' LENGTH_PENALTIES='0.6 1.0 1.4'
options "$@"
need --model "$MODEL"; need --prepared "$PREPARED"; need --raw "$RAW"
need --source "$SOURCE"; need --target "$TARGET"; need --output "$OUTPUT"

separate --output="$OUTPUT" --output="$OUTPUT.tried" -- --model="$MODEL" --prepared="$PREPARED/text.json" \
    ${TEXT:+--text="$TEXT"}
rm -rf "$OUTPUT.tried"  # it may be of another model
for beam in $BEAMS; do
    for penalty in $LENGTH_PENALTIES; do
        folder=$OUTPUT.tried/$beam-$penalty
        bash "$(dirname "$0")/evaluate.sh" --model "$MODEL" --prepared "$PREPARED" --raw "$RAW" \
            --source "$SOURCE" --target "$TARGET" --output "$folder" --tests "$VALID" --metrics bleu \
            --beam "$beam" --length-penalty "$penalty" ${TEXT:+--text "$TEXT"}
    done
done
python - "$OUTPUT" "$VALID" <<'END'
import json, pathlib, sys
from weightdistill.files import write_json
output, valid = pathlib.Path(sys.argv[1]), sys.argv[2]
tried = []
for folder in sorted(pathlib.Path(f"{output}.tried").iterdir()):
    beam, penalty = folder.name.split("-")
    score = json.loads((folder / f"{valid}.json").read_text())["systems"][0]["bleu"]["score"]
    tried.append({"beam": int(beam), "length_penalty": float(penalty), "bleu": score})
chosen = max(tried, key=lambda entry: entry["bleu"])
write_json(output, {"chosen": chosen, "tried": tried})
print(f"beam {chosen['beam']}, length penalty {chosen['length_penalty']}: {chosen['bleu']:.2f} BLEU on {valid}")
END
