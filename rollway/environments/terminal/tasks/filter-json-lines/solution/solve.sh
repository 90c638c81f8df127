python3 - <<'PY'
import json
skipped = 0
with open("events.jsonl") as source, open("failures.jsonl", "w") as target:
    for line in source:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            skipped += 1
            continue
        duration = event.get("duration")
        if event.get("status") == "failed" and isinstance(duration, (int, float)) and not isinstance(duration, bool) and duration > 30:
            print(json.dumps({"id": event["id"], "duration": duration}), file=target)
open("skipped.txt", "w").write(f"{skipped}\n")
PY
