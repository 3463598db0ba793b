#!/usr/bin/env python3
"""Makes rules of a dashboard's queries, so that promtool can read them, and checks that each metric
that they name is written: dashboard.py DASHBOARD METRICS."""
import json
import re
import sys

with open(sys.argv[1]) as file:
    dashboard = json.load(file)
with open(sys.argv[2]) as file:
    written = set(re.findall(r"^# TYPE (\S+)", file.read(), re.M))
written |= {name + end for name in written for end in ("_sum", "_count")}
print("groups:\n  - name: dashboard\n    rules:")
for panel in dashboard["panels"]:
    for target in panel["targets"]:
        query = re.sub(r"\$__rate_interval|\$__range", "5m", target["expr"])
        query = re.sub(r"\$(instance|upstream)", ".*", query)
        for name in re.findall(r"\bupclose_\w+", query):
            if name not in written:
                sys.exit(f"{panel['title']}: {name} is never written")
        print(f"      - record: panel:{panel['id']}:{target['refId']}\n        expr: {json.dumps(query)}")
