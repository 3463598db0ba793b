"""Writes an error log and an access log of a given size: a realistic mix, the same each time.

usage: generate.py error|failures|access BYTES FILE
"""

import random
import sys

random.seed(7)
PEERS = [f"10.0.1.{11 + n}:8080" for n in range(8)]
AGENTS = [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/17.6 Safari/605.1",
]
PATHS = ["/", "/api/orders", "/api/orders/4711/items", "/static/app.js", "/login", "/search"]
RESET = "(104: Connection reset by peer)"
FAILURES = [
    ("upstream prematurely closed connection", "reading response header from upstream"),
    ("recv() failed " + RESET, "reading response header from upstream"),
    ("connect() failed (111: Connection refused)", "connecting to upstream"),
    ("upstream timed out (110: Connection timed out)", "reading response header from upstream"),
    ("upstream prematurely closed connection", "reading upstream"),
    ("upstream sent too big header", "reading response header from upstream"),
]


def stamp(n):
    return f"2026/11/24 {10 + n // 3600000 % 12:02}:{n // 60000 % 60:02}:{n // 1000 % 60:02}"


def error(n, only_failures):
    head = f"{stamp(n)} [%s] {4000 + n % 4}#{4000 + n % 4}: *{100 + n} "
    path = random.choice(PATHS)
    tail = (
        f", client: 198.51.100.{n % 250}, server: www.example.org,"
        f' request: "GET {path}?id={n} HTTP/1.1"'
    )
    kind = 0 if only_failures else random.random()
    if kind < 0.6:
        message, action = random.choice(FAILURES)
        upstream = f', upstream: "http://{random.choice(PEERS)}{path}?id={n}"'
        return head % "error" + f"{message} while {action}{tail}{upstream}, host: \"www.example.org\""
    if kind < 0.7:
        return (
            head % "error"
            + f'open() "/srv/www{path}" failed (2: No such file or directory){tail}, host: "x"'
        )
    if kind < 0.8:
        return (
            head % "info"
            + "epoll_wait() reported that client prematurely closed connection, so upstream "
            + f"connection is closed too while sending request to upstream{tail}"
        )
    if kind < 0.9:
        return (
            head % "warn"
            + "a client request body is buffered to a temporary file "
            + f"/var/lib/nginx/body/00{n}{tail}"
        )
    return head % "info" + f"client 198.51.100.{n % 250} closed keepalive connection"


def access(n):
    peer = random.choice(PEERS)
    took = random.expovariate(20)
    status, tries, statuses, times = 200, peer, "200", f"{took:.3f}"
    chance = random.random()
    if chance < 0.01:
        other = random.choice(PEERS)
        tries, statuses = f"{peer}, {other}", "502, 200"
        times = f"0.002, {took:.3f}"
    elif chance < 0.015:
        status, statuses = 502, "502"
    # The combined format with the lists of tries behind it: about 290 bytes.
    return (
        f"198.51.100.{n % 250} - - [24/Nov/2026:10:01:{n % 60:02} +0000] "
        f'"GET {random.choice(PATHS)}?id={n} HTTP/1.1" {status} 4800 '
        f'"https://www.example.org/shop/{n % 97}" "{random.choice(AGENTS)}" '
        f'"{tries}" "{statuses}" "{times}"'
    )


def main():
    kind, size, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    make = {
        "error": lambda n: error(n, False),
        "failures": lambda n: error(n, True),
        "access": access,
    }[kind]
    # A block is written again and again: what is measured does not remember lines.
    block = "".join(make(n) + "\n" for n in range(60000)).encode()
    written = 0
    with open(path, "wb") as file:
        while written < size:
            written += file.write(block)


main()
