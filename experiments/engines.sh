#!/usr/bin/env bash
# Compare fairseq and CTranslate2: speed, and equality of the translations. Decodes the experiment's first evaluated set with the
# teacher and beam 5, as for a distilled corpus. Run it on an otherwise idle machine.
#
#   experiments/engines.sh --experiment DIR --work DIR [--threads N]
#
#   --experiment DIR  a folder with config.yaml; receives results/engines/
#   --work DIR        the folder of the experiment's workflow, with exported/teacher in it
#   --threads N       CPU threads (default: 2)
source "$(dirname "$0")/../scripts/common.sh"

EXPERIMENT='' WORK='' THREADS=2
options "$@"
need --experiment "$EXPERIMENT"; need --work "$WORK"
[[ -e $EXPERIMENT/config.yaml ]] || die "$EXPERIMENT has no config.yaml; --experiment must be a folder of experiments/"
[[ -e $WORK/exported/teacher/model.pt ]] || die "$WORK has no exported/teacher; run the experiment's workflow first"
RESULTS=$(cd "$EXPERIMENT" && pwd)/results/engines
SETTINGS=$WORK/settings.json
[[ -e $SETTINGS ]] || SETTINGS=$EXPERIMENT/config.yaml
names=$(python - "$SETTINGS" <<'END'
import sys
from pathlib import Path
from weightdistill.experiment.settings import read
settings = read([Path(sys.argv[1])])
print(settings.source, settings.target, settings.evaluated[0])
END
) || die "the settings cannot be used: $SETTINGS"
read -r SOURCE TARGET TEST <<< "$names"
mkdir -p "$RESULTS"
cd "$WORK"

weightdistill benchmark exported/teacher/model.pt exported/teacher/ctranslate2 --data prepared/data-bin \
    --input "prepared/pieces/$TEST.$SOURCE" --beam 5 --batch-size 64 --repetitions 3 --threads "$THREADS" \
    --json "$RESULTS/speed.json"
for engine in model.pt ctranslate2; do
    OMP_NUM_THREADS=$THREADS "$ROOT/scripts/evaluate.sh" --model "exported/teacher/$engine" --prepared prepared \
        --raw raw --source "$SOURCE" --target "$TARGET" --tests "$TEST" --output "engines/$engine"
done
weightdistill evaluate engines/{model.pt,ctranslate2}/"$TEST.txt" --reference "raw/$TEST.$TARGET" \
    --bootstrap 1000 --json "$RESULTS/quality.json"
echo "equal translations: $(paste -d '\n' engines/{model.pt,ctranslate2}/"$TEST.txt" | awk '
    NR % 2 { first = $0; next } { equal += first == $0 } END { print equal " of " NR / 2 }')" | tee "$RESULTS/equal.txt"
