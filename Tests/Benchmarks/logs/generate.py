"""Writes an error log and an access log of a given size: a realistic mix, the same each time.
Beside an error log, in FILE.kinds, stands how many lines of each kind are in it.

usage: generate.py error|failures|access BYTES FILE
"""

import random
import sys
from collections import Counter

random.seed(7)
PEERS = [f"10.0.1.{11 + n}:8080" for n in range(8)]
AGENTS = [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/17.6 Safari/605.1",
]
PATHS = ["/", "/api/orders", "/api/orders/4711/items", "/static/app.js", "/login", "/search"]
RESET = "(104: Connection reset by peer)"
HEADER = "reading response header from upstream"
CONNECT, TLS = "connecting to upstream", "SSL handshaking to upstream"
SEND, BODY = "sending request to upstream", "reading upstream"
TIMEOUT = "upstream timed out (110: Connection timed out)"
# Every kind of upstream failure; the frequent ones come ten times as often.
FAILURES = [
    ("prematurelyClosed", "upstream prematurely closed connection", HEADER),
    ("recvFailed", "recv() failed " + RESET, HEADER),
    ("connectFailed", "connect() failed (111: Connection refused)", CONNECT),
    ("headerTimedOut", TIMEOUT, HEADER),
    ("bodyClosed", "upstream prematurely closed connection", BODY),
    ("noLiveUpstreams", "no live upstreams", CONNECT),
] * 10 + [
    ("connectTimedOut", TIMEOUT, CONNECT),
    ("connectRefusedAtOnce", "connect() to 10.0.1.19:80 failed (113: No route to host)", CONNECT),
    ("workerConnectionsExhausted", "768 worker_connections are not enough", CONNECT),
    ("tlsClosed", "peer closed connection in SSL handshake " + RESET, TLS),
    ("tlsHandshakeFailed", "SSL_do_handshake() failed (SSL: error:0A00010B:SSL routines::wrong "
     "version number)", TLS),
    ("tlsTimedOut", TIMEOUT, TLS),
    ("tlsCertificateRejected", 'upstream SSL certificate does not match "x"', TLS),
    ("sendFailed", "writev() failed (32: Broken pipe)", SEND),
    ("sendTimedOut", TIMEOUT, SEND),
    ("headerTooBig", "upstream sent too big header", HEADER),
    ("invalidResponse", 'upstream sent invalid header: "Bad\\x01..."', HEADER),
    ("protocolError", "upstream rejected request with error 2", HEADER),
    ("bodyRecvFailed", "readv() failed " + RESET, BODY),
    ("bodyTimedOut", TIMEOUT, BODY),
    ("invalidChunked", "upstream sent invalid chunked response", BODY),
    ("upgradedFailed", "recv() failed " + RESET, "proxying upgraded connection"),
]


def stamp(n):
    return f"2026/11/24 {10 + n // 3600000 % 12:02}:{n // 60000 % 60:02}:{n // 1000 % 60:02}"


def error(n, only_failures):
    """A line, and its kind as upclose names it."""
    head = f"{stamp(n)} [%s] {4000 + n % 4}#{4000 + n % 4}: *{100 + n} "
    path = random.choice(PATHS)
    tail = (
        f", client: 198.51.100.{n % 250}, server: www.example.org,"
        f' request: "GET {path}?id={n} HTTP/1.1"'
    )
    chance = 0 if only_failures else random.random()
    if chance < 0.6:
        kind, message, action = random.choice(FAILURES)
        peer = "app" if kind == "noLiveUpstreams" else random.choice(PEERS)
        upstream = f', upstream: "http://{peer}{path}?id={n}"'
        text = f"{message} while {action}{tail}{upstream}, host: \"www.example.org\""
        return head % "error" + text, kind
    if chance < 0.7:
        text = f'open() "/srv/www{path}" failed (2: No such file or directory){tail}, host: "x"'
        return head % "error" + text, "other"
    if chance < 0.8:
        text = (
            "epoll_wait() reported that client prematurely closed connection, so upstream "
            f"connection is closed too while sending request to upstream{tail}"
        )
        return head % "info" + text, "clientClosed"
    if chance < 0.9:
        text = (
            "a client request body is buffered to a temporary file "
            f"/var/lib/nginx/body/00{n}{tail}"
        )
        return head % "warn" + text, "other"
    return head % "info" + f"client 198.51.100.{n % 250} closed keepalive connection", "other"


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
    made = [make(n) for n in range(60000)]
    block = "".join((line if kind == "access" else line[0]) + "\n" for line in made).encode()
    written = blocks = 0
    with open(path, "wb") as file:
        while written < size:
            written += file.write(block)
            blocks += 1
    if kind != "access":
        kinds = Counter(line[1] for line in made)
        with open(path + ".kinds", "w") as file:
            for name, count in sorted(kinds.items()):
                print(name, count * blocks, file=file)


main()
