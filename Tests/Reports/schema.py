#!/usr/bin/env python3
"""Checks documents (.json) and incidents (.ndjson) against the schema: schema.py SCHEMA FILE..."""
import json
import os
import sys

import jsonschema

with open(sys.argv[1]) as file:
    schema = json.load(file)
jsonschema.Draft202012Validator.check_schema(schema)
incident = {**schema, "$ref": "#/$defs/incident"}
for name in ["type", "required", "properties"]:
    del incident[name]
wrong = 0
for path in sys.argv[2:]:
    if os.path.samefile(path, sys.argv[1]):
        continue
    validator = jsonschema.Draft202012Validator(incident if path.endswith(".ndjson") else schema)
    with open(path) as file:
        texts = file.readlines() if path.endswith(".ndjson") else [file.read()]
    for number, text in enumerate(texts):
        for error in validator.iter_errors(json.loads(text)):
            wrong += 1
            if wrong < 20:
                print(f"WRONG {path}:{number + 1} {list(error.path)}: {error.message[:200]}")
    print(f"{os.path.basename(path)}: {len(texts)} checked")
sys.exit(1 if wrong else 0)
