"""Writes an error log and an access log of a given size: a realistic mix, the same each time.

usage: generate.py error|failures|access BYTES FILE
"""

import random
import sys

random.seed(7)
PEERS = [f"10.0.1.{11 + n}:8080" for n in range(8)]
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
    status, tries, header = 200, f"{peer}", f"{took:.3f}"
    statuses, sent, received, times = "200", "612", "5120", f"{took:.3f}"
    chance = random.random()
    if chance < 0.01:
        other = random.choice(PEERS)
        tries, statuses = f"{peer}, {other}", "502, 200"
        header, times = f"-, {took:.3f}", f"0.002, {took:.3f}"
        sent, received = "612, 612", "0, 5120"
    elif chance < 0.015:
        status, statuses, header, received = 502, "502", "-", "0"
    connect = "0.000" if "," not in tries else "0.000, 0.001"
    return (
        f"1795514462.{n % 1000:03} {4000 + n % 4} {100 + n // 3} {n % 3 + 1} 198.51.100.{n % 250} "
        f"{status} [{tries}] [{statuses}] [{connect}] [{header}] [{times}] [{sent}] [{received}] "
        f'4800 {4800 if status == 200 else 150} 612 {took:.3f} "GET {random.choice(PATHS)}?id={n} HTTP/1.1"'
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
