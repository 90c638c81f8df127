cat > events.jsonl <<'JSON'
{"id": 1, "status": "failed", "duration": 31.5}
{"id": 2, "status": "ok", "duration": 99}
{"id": 3, "status": "failed", "duration": 30}
{"id": 4, "status": "failed", "duration": "45"}
{"id": 5, "status": "failed"
["failed", 99]
{"id": "six \u00e9", "note": "\"status\": \"ok\"", "status": "failed", "duration": 1e3}
{"id": 7, "nested": {"status": "failed", "duration": 77}, "status": "ok", "duration": 77}
not json
{"id": 8, "status": "failed", "duration": null}
{"duration": 31, "status": "failed", "id": 9}
{"id": 10, "status": "failed", "duration": true}
JSON
