#!/bin/sh
# The main job on the sample corpus: ingest it, then ask the questions of demo.txt.
set -eu
sample=$1
store=$2

echo "Ingesting $sample into $store ..."
"$ENGRAPH" ingest "$sample/team-chat.jsonl" "$sample/assistant-chats.jsonl" "$sample/handbook" --store "$store"

while IFS="$(printf '\t')" read -r namespace granularity question; do
    printf '\n$ engraph recall "%s" --namespace %s -k 3 --store %s\n' "$question" "$namespace" "$store"
    "$ENGRAPH" recall "$question" --namespace "$namespace" --granularity "$granularity" -k 3 --store "$store"
done <"$sample/demo.txt"

printf '\nAsk it more:  %s recall "..." --store %s\n' "$ENGRAPH" "$store"
printf 'Or in SQL:    %s sql "SELECT * FROM recall('\''...'\'', k := 5)" --store %s\n' "$ENGRAPH" "$store"
