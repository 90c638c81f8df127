cat > config.json <<'JSON'
{
  // main settings
  "name": 'billing',
  "replicas": 3,
  "debug": False,
  "paths": ["/var/lib/billing", "/tmp/a//b",],  # two of them
  "note": "He said \"no // comment\"",
  timeout: 2.50,
  "retry": {
    "times": 05
    "wait": null,
  },
}
JSON
