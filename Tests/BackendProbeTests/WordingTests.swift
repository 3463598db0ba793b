import Evidence
import Testing

@testable import BackendProbe

private func wording(_ line: String) -> Wording? {
  Array(line.utf8).withUnsafeBytes { Wording.read($0) }
}

@Suite struct WordingTests {
  @Test(arguments: [
    (
      "[2026-11-24 07:41:16 +0000] [3080] [CRITICAL] WORKER TIMEOUT (pid:3083)",
      Wording(.gunicorn, .workerTimeout, pid: 3083)
    ),
    (
      "[2026-11-24 07:41:16 +0000] [3083] [INFO] Autorestarting worker after current request.",
      Wording(.gunicorn, .workerRecycle, pid: 3083)
    ),
    (
      "[2026-11-24 07:41:17 +0000] [1] [ERROR] Worker (pid:23) was sent SIGKILL! Perhaps out of memory?",
      Wording(.gunicorn, .workerKilled, pid: 23, signal: 9)
    ),
    (
      "[2026-11-24 07:41:17 +0000] [1] [ERROR] Worker (pid:64234) was sent SIGSEGV!",
      Wording(.gunicorn, .workerKilled, pid: 64234, signal: 11)
    ),
    (
      "[2026-11-24 07:41:17 +0000] [1] [ERROR] Worker (pid:7) exited with code 3",
      Wording(.gunicorn, .workerExited, pid: 7, code: 3)
    ),
    (
      "[2026-11-24 07:41:17 +0000] [1] [WARNING] Worker with pid 88 was terminated due to signal 6",
      Wording(.gunicorn, .workerKilled, pid: 88, signal: 6)
    ),
    (
      "[2026-11-24 07:41:16 +0000] [3083] [INFO] Worker exiting (pid: 3083)",
      Wording(.gunicorn, .workerExited, pid: 3083)
    ),
    (
      "[2026-11-24 07:41:16 +0000] [3085] [INFO] Booting worker with pid: 3085",
      Wording(.gunicorn, .workerStarted, pid: 3085)
    ),
    (
      "[2026-11-24 07:41:16 +0000] [3080] [INFO] Handling signal: term",
      Wording(.gunicorn, .stopping, signal: 15)
    ),
  ])
  func `gunicorn`(_ line: String, _ expected: Wording) {
    #expect(wording(line) == expected)
  }

  @Test(arguments: [
    (
      "*** HARAKIRI ON WORKER 13 (pid: 21576, try: 1) ***",
      Wording(.uwsgi, .workerTimeout, pid: 21576)
    ),
    (
      "Tue Nov 24 13:48:13 2026 - *** HARAKIRI ON WORKER 1 (pid: 7, try: 1, graceful: yes) ***",
      Wording(.uwsgi, .workerTimeout, pid: 7)
    ),
    (
      "DAMN ! worker 17 (pid: 21591) died, killed by signal 9 :( trying respawn ...",
      Wording(.uwsgi, .workerKilled, pid: 21591, signal: 9)
    ),
    (
      "DAMN ! worker 1 (pid: 35527) died :( trying respawn ...",
      Wording(.uwsgi, .workerExited, pid: 35527)
    ),
    (
      "...The work of process 4711 is done. Seeya!",
      Wording(.uwsgi, .workerRecycle, pid: 4711)
    ),
    (
      "worker 1 lifetime reached, it was running for 16 second(s)",
      Wording(.uwsgi, .workerRecycle, measured: 16)
    ),
    (
      "invalid request block size: 4437 (max 4096)...skip",
      Wording(.uwsgi, .requestTooLarge, limit: 4096, measured: 4437)
    ),
    // "ET": the second and third byte of GET.
    (
      "invalid request block size: 21573 (max 4096)...skip",
      Wording(.uwsgi, .wrongProtocol, limit: 4096, measured: 21573)
    ),
    (
      "*** uWSGI listen queue of socket \":6000\" (fd: 6) full !!! (1025/1024) ***",
      Wording(.uwsgi, .saturated, limit: 1024)
    ),
    (
      "!!! uWSGI process 3279 got Segmentation Fault !!!",
      Wording(.uwsgi, .workerKilled, pid: 3279, signal: 11)
    ),
    ("Respawned uWSGI worker 2 (new pid: 952)", Wording(.uwsgi, .workerStarted, pid: 952)),
  ])
  func `uWSGI`(_ line: String, _ expected: Wording) {
    #expect(wording(line) == expected)
  }

  @Test(arguments: [
    (
      "[24-Nov-2026 13:48:13] WARNING: [pool www] child 1933 exited on signal 11 (SIGSEGV) after 3.004 seconds from start",
      Wording(.phpFPM, .workerKilled, pid: 1933, signal: 11)
    ),
    (
      "[24-Nov-2026 13:48:13] WARNING: [pool www] child 1933 exited on signal 11 (SIGSEGV - core dumped) after 3.004 seconds from start",
      Wording(.phpFPM, .workerKilled, pid: 1933, signal: 11)
    ),
    (
      "[24-Nov-2026 13:48:13] NOTICE: [pool www] child 5 exited with code 0 after 12.5 seconds from start",
      Wording(.phpFPM, .workerRecycle, pid: 5, code: 0)
    ),
    (
      "[24-Nov-2026 13:48:13] WARNING: [pool www] child 5 exited with code 255 after 12.5 seconds from start",
      Wording(.phpFPM, .workerExited, pid: 5, code: 255)
    ),
    (
      "[24-Nov-2026 13:48:13] WARNING: [pool web] child 120, script '/app/index.php' (request: \"GET /index.php?a=b\") execution timed out (358.009855 sec), terminating",
      Wording(.phpFPM, .workerTimeout, pid: 120, measured: 358)
    ),
    (
      "[24-Nov-2026 13:48:13] WARNING: [pool web] server reached max_children setting (2), consider raising it",
      Wording(.phpFPM, .saturated, limit: 2)
    ),
    (
      "[24-Nov-2026 13:48:13] NOTICE: [pool www] child 9 started",
      Wording(.phpFPM, .workerStarted, pid: 9)
    ),
    (
      "[4] ! Terminating timed out worker (worker failed to check in within 60 seconds): 6",
      Wording(.puma, .workerTimeout, pid: 6, limit: 60)
    ),
    ("[4] ! Terminating timed out worker: 6", Wording(.puma, .workerTimeout, pid: 6)),
  ])
  func `php-fpm and Puma`(_ line: String, _ expected: Wording) {
    #expect(wording(line) == expected)
  }

  @Test(arguments: [
    (
      "[Tue Nov 24 13:48:13.123456 2026] [core:notice] [pid 100:tid 1] AH00052: child pid 123 exit signal Segmentation fault (11)",
      Wording(.apache, .workerKilled, pid: 123, signal: 11)
    ),
    (
      "[Tue Nov 24 13:48:13.123456 2026] [core:notice] [pid 100] AH00051: child pid 123 exit signal Aborted (6), possible coredump in /etc/apache2",
      Wording(.apache, .workerKilled, pid: 123, signal: 6)
    ),
    (
      "[Tue Nov 24 13:48:13.1 2026] [core:warn] [pid 100] AH00045: child process 77 still did not exit, sending a SIGTERM",
      Wording(.apache, .stopping, pid: 77, signal: 15)
    ),
    (
      "[Tue Nov 24 13:48:13.1 2026] [mpm_event:error] [pid 100] AH00484: server reached MaxRequestWorkers setting, consider raising the MaxRequestWorkers setting",
      Wording(.apache, .saturated)
    ),
    (
      "app.service: Main process exited, code=killed, status=9/KILL",
      Wording(.systemd, .workerKilled, signal: 9, unit: "app.service")
    ),
    (
      "Nov 24 13:48:13 web systemd[1]: app.service: Main process exited, code=exited, status=1/FAILURE",
      Wording(.systemd, .workerExited, code: 1, unit: "app.service")
    ),
    (
      "Mar 14 16:55:07 localhost systemd: tidb-4000.service: main process exited, code=killed, status=9/KILL",
      Wording(.systemd, .workerKilled, signal: 9)
    ),
    (
      "app.service: A process of this unit has been killed by the OOM killer.",
      Wording(.systemd, .outOfMemory, signal: 9, unit: "app.service")
    ),
    (
      "app.service: Killing process 4711 (python) with signal SIGKILL.",
      Wording(.systemd, .stopping, pid: 4711, signal: 9, unit: "app.service")
    ),
  ])
  func `Apache and systemd`(_ line: String, _ expected: Wording) {
    #expect(wording(line) == expected)
  }

  @Test func `HAProxy's termination state, and nginx's end of the connection`() {
    let prefix = "Nov 24 13:48:13 lb haproxy[1234]: 10.0.0.1:40312 [24/Nov/2026:13:48:13.123] "
    let peer = Endpoint("10.0.0.1:40312")
    #expect(
      wording(prefix + "web app/s1 0/0/1/-1/2 502 230 - - SH-- 1/1/0/0/0 0/0 \"GET / HTTP/1.1\"")
        == Wording(.haproxy, .sessionAborted, peer: peer))
    #expect(
      wording(prefix + "web app/<NOSRV> 0/60000/-1/-1/60000 503 0 - - sQ-- 1/1/0/0/0 0/1 \"GET /\"")
        == Wording(.haproxy, .saturated, peer: peer))
    // TCP mode: two letters.
    #expect(
      wording(prefix + "web app/s1 0/0/12 0 SD 1/1/0/0/0 0/0")
        == Wording(.haproxy, .sessionAborted, peer: peer))
    #expect(
      wording(prefix + "web app/s1 0/0/1/2/3 200 230 - - ---- 1/1/0/0/0 0/0 \"GET / HTTP/1.1\"")
        == nil)
  }

  @Test(arguments: [
    (
      "2026/11/24 13:48:13 http: panic serving 10.0.0.1:40312: runtime error: index out of range",
      Wording(.go, .exception, peer: Endpoint("10.0.0.1:40312"))
    ),
    (
      "2026/11/24 13:48:13 http: panic serving [2001:db8::1]:40312: boom",
      Wording(.go, .exception, peer: Endpoint("[2001:db8::1]:40312"))
    ),
    ("panic: runtime error: invalid memory address", Wording(.go, .exception)),
    ("Uncaught Error: boom", Wording(.node, .exception)),
    ("Node.js v20.20.2", Wording(.node, .exception)),
    (
      "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
      Wording(.node, .outOfMemory, signal: 6)
    ),
    (
      "java.lang.OutOfMemoryError: Java heap space", Wording(.java, .outOfMemory)
    ),
    ("Traceback (most recent call last):", Wording(.python, .exception)),
  ])
  func `programs that fail`(_ line: String, _ expected: Wording) {
    #expect(wording(line) == expected)
  }

  @Test(arguments: [
    "", "127.0.0.1 - - [24/Nov/2026:13:48:13 +0000] \"GET / HTTP/1.1\" 200 5 \"-\" \"curl/7\"",
    "[pid: 35527|app: 0|req: 3/3] 172.17.0.1 () {56 vars in 1412 bytes} GET / => generated 1 bytes",
    "WORKER TIMEOUT", "] child ", "child pid ", "DAMN ! worker ", "/", " [ ] / / / / / / /",
    "Worker (pid:99999999999999999999) was sent SIGKILL!", "invalid request block size",
  ])
  func `other lines, and lines that are cut, are no trap`(_ line: String) {
    let kind = wording(line)?.pid
    #expect(kind == nil)
  }
}
