#!/usr/bin/env bash
# Average the last checkpoints of a training: those of epochs or, if there are none, those of updates.
#
#   scripts/average.sh --checkpoints DIR --last N --output FILE
#
#   --checkpoints DIR  holds checkpoint1.pt, checkpoint2.pt, ... (fairseq-train --keep-last-epochs N keeps the last N), or
#                      checkpoint_1_500.pt, ... (--save-interval-updates, --keep-interval-updates N)
#   --last N           how many of them (default: 5)
#   --output FILE      checkpoint to write
source "$(dirname "$0")/common.sh"

CHECKPOINTS='' LAST=5 OUTPUT=''
options "$@"
need --checkpoints "$CHECKPOINTS"; need --output "$OUTPUT"

for names in 'checkpoint[0-9]+' 'checkpoint_[0-9]+_[0-9]+'; do
    mapfile -t files < <(
        find "$CHECKPOINTS" -maxdepth 1 -regex ".*/$names\.pt" | sort --version-sort | tail -n "$LAST"
    )
    [[ ${#files[@]} -eq 0 ]] || break
done
[[ ${#files[@]} -eq $LAST ]] \
    || die "$CHECKPOINTS holds ${#files[@]} checkpoints, but --last is $LAST; train with --keep-last-epochs $LAST"
python -m weightdistill.average "$OUTPUT" "${files[@]}"
