#!/usr/bin/env python3
"""Writes error logs into a directory: one from a client that means harm, one with ten thousand
errors."""
import sys

LINE = ('2026/11/24 10:{:02d}:{:02d} [error] 7#7: *{} upstream prematurely closed connection while '
        'reading response header from upstream, client: 1.2.3.4, server: {}, request: "{}", '
        'upstream: "http://10.0.0.{}:8080/x", host: "{}"\n')
HARM = ["GET /<script>document.title='owned'</script> HTTP/1.1",
        "GET /'><img src=http://evil.test/x onerror=alert(1)> HTTP/1.1",
        "GET /{{script}}{{body}} HTTP/1.1", "GET /](javascript:alert(1)) HTTP/1.1",
        "GET /`|`|** HTTP/1.1", "GET /&lt;b&gt;&#x3c; HTTP/1.1", "GET /</title></style> HTTP/1.1",
        "GET /\\x1B[2J HTTP/1.1", "GET /" + "a" * 1500 + " HTTP/1.1"]

directory = sys.argv[1]
with open(f"{directory}/hostile.log", "w") as file:
    for number, request in enumerate(HARM):
        file.write(LINE.format(1, number, number + 1, "<b>x</b>", request, 1, "<svg onload=alert(1)>"))
with open(f"{directory}/many.log", "w") as file:
    for number in range(10_000):
        request = f"GET /item/{number} HTTP/1.1"
        file.write(LINE.format(number // 600 % 60, number // 10 % 60, number + 1, "x", request,
                               number % 7 + 1, "x"))
