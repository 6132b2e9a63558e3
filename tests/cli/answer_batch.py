"""Answers batch files the way a Batch API does: python answer_batch.py BASE_URL FILE... > answers"""

import json
import sys
import urllib.request

base = sys.argv[1].removesuffix("/v1")
for path in sys.argv[2:]:
    for line in open(path, encoding="utf-8"):
        row = json.loads(line)
        request = urllib.request.Request(base + row["url"], json.dumps(row["body"]).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as reply:
            body = json.load(reply)
        print(json.dumps({"id": "batch_req_" + row["custom_id"], "custom_id": row["custom_id"],
                          "response": {"status_code": 200, "request_id": "r", "body": body},
                          "error": None}))
