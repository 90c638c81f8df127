cat > config.json <<'JSON'
{
  "name": "billing",
  "replicas": 3,
  "debug": false,
  "paths": ["/var/lib/billing", "/tmp/a//b"],
  "note": "He said \"no // comment\"",
  "timeout": 2.50,
  "retry": {
    "times": 5,
    "wait": null
  }
}
JSON
