#!/usr/bin/env python3
"""How long a program takes from its start to its end: start.py PROGRAM ARGUMENT..."""
import os
import statistics
import sys
import time

RUNS = 200
null = os.open("/dev/null", os.O_RDWR)
actions = [(os.POSIX_SPAWN_DUP2, null, 1)]
times = []
for _ in range(RUNS):
    began = time.perf_counter()
    pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=actions)
    os.waitpid(pid, 0)
    times.append((time.perf_counter() - began) * 1000)
times.sort()
print(f"{os.path.basename(sys.argv[1])} {' '.join(sys.argv[2:])}: median "
      f"{statistics.median(times):.1f} ms, least {times[0]:.1f}, 95 % under "
      f"{times[int(RUNS * 0.95)]:.1f} (n={RUNS})")
