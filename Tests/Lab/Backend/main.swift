// lab-backend: a small prefork HTTP/1.1 server whose faults are real and are chosen by the request.
// `--help` says how; Faults.swift says which.
import Glibc

exit(runBackend(CommandLine.arguments))
