# The lab's WSGI application: the path's word behind /fault/ says what is to happen. Before it does it
# appends `TOKEN PID PORT WORD` to LAB_DEEDS.
import ctypes
import os
import signal
import time


def note(token, environ, word):
    port = environ.get("LAB_PEER_PORT") or environ.get("REMOTE_PORT") or "0"
    if "uwsgi.version" in environ:  # REMOTE_PORT is the client's there, as nginx passes it
        port = "0"
    line = f"{token} {os.getpid()} {port} {word}\n".encode()
    file = os.open(os.environ["LAB_DEEDS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(file, line)
    os.close(file)


def milliseconds(environ):
    for pair in environ.get("QUERY_STRING", "").split("&"):
        if pair.startswith("ms="):
            return int(pair[3:])
    return 0


def application(environ, start_response):
    parts = [part for part in environ["PATH_INFO"].split("/") if part]
    word = parts[parts.index("fault") + 1] if "fault" in parts[:-1] else "ok"
    token = parts[-1]
    if word == "unread":
        note(token, environ, word)
        start_response("401 Unauthorized", [("Content-Length", "0")])
        return [b""]
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length:
        environ["wsgi.input"].read(length)
    if word != "ok":
        note(token, environ, word)
    if word == "slow":
        time.sleep(milliseconds(environ) / 1000)
    elif word == "exit":
        os._exit(7)  # gunicorn takes 3 for a failure to boot, and ends itself
    elif word == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif word == "abort":
        os.abort()
    elif word == "segv":
        ctypes.string_at(0)
    elif word == "oom":
        hoard = []
        while True:
            hoard.append(bytearray(1 << 20))
    elif word == "truncate":
        start_response("200 OK", [("Content-Length", "1000")])
        return [b"half\n"]
    body = b"ok\n"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
