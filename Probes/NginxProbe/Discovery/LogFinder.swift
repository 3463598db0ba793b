import Evidence
import Glibc
import LinuxHost

/// Finds the files behind a running nginx's logs, as this process can open them.
struct LogFinder {
  let nginx: FoundNginx
  let table: ProcessTable

  struct Found {
    var error: [String] = []
    var access: [LogSource] = []
    var blindSpots: [BlindSpot] = []
  }

  func find(_ settings: NginxSettings, _ formats: AccessLogFormats) -> Found {
    var found = Found()
    var unreadable: [String] = []
    for log in settings.errorLogs {
      switch path(of: log.target) {
      case .success(let path): if !found.error.contains(path) { found.error.append(path) }
      case .failure(let problem):
        unreadable.append(problem.text + (log.location.map { " (\($0))" } ?? ""))
      }
    }
    for log in settings.accessLogs {
      guard case .success(let path) = path(of: log.target),
        let format = log.format.flatMap({ formats[$0] }),
        !found.access.contains(where: { $0.path == path })
      else { continue }
      found.access.append(LogSource(path: path, format: format))
    }
    found.blindSpots += Self.requestSpots(found.access)
    if let first = unreadable.first {
      let more = unreadable.count > 1 ? " and \(unreadable.count - 1) more" : ""
      found.blindSpots.append(
        BlindSpot(
          id: "error-log", what: "the error log goes to \(first)\(more), which cannot be followed",
          cost: found.error.isEmpty
            ? "no error of nginx is seen" : "errors that are only there are not seen",
          remedy: "add `error_log /var/log/nginx/upclose.log info;` and reload nginx, or give it "
            + "through a pipe: docker logs -f NAME 2>&1 (or journalctl -f -u nginx) | upclose attach "
            + "--error-log -"))
    }
    if let spot = hidden(settings.errorLogs) { found.blindSpots.append(spot) }
    return found
  }

  /// What the formats of the access logs hide.
  private static func requestSpots(_ logs: [LogSource]) -> [BlindSpot] {
    guard let first = logs.first?.format else {
      return [
        BlindSpot(
          id: "access-log", what: "nginx writes no access log that can be followed",
          cost: "what clients got, retries and response times are not seen",
          remedy: "add the log_format that `upclose doctor` prints")
      ]
    }
    // The best of them counts: a request is written to all.
    let spots = logs.map { $0.format?.blindSpot }
    return spots.contains(nil) ? [] : [first.blindSpot].compactMap { $0 }
  }

  private struct Problem: Error {
    var text: String
  }

  private func path(of target: LogSetting.Target) -> Result<String, Problem> {
    switch target {
    case .file(let path): resolve(path)
    case .stderr: descriptor(2)
    case .syslog(let server): .failure(Problem(text: "syslog (\(server))"))
    case .memory: .failure(Problem(text: "memory"))
    case .variable(let path): .failure(Problem(text: path))
    }
  }

  /// Where a log is, as the master would follow its links: in nginx's own image they lead to
  /// `/dev/stderr`, which is the master's and not ours.
  private func resolve(_ path: String) -> Result<String, Problem> {
    let target = nginx.mountRoot.resolve(path)
    switch target {
    case "/dev/stderr", "/proc/self/fd/2": return descriptor(2)
    case "/dev/stdout", "/proc/self/fd/1": return descriptor(1)
    default: break
    }
    // On this host a link may be changed by a rotation: then it is the name that is followed.
    return .success(nginx.root.isEmpty ? path : nginx.root + target)
  }

  private func descriptor(_ number: Int) -> Result<String, Problem> {
    let name = number == 1 ? "standard output" : "standard error"
    let link = table.path(nginx.master, "fd/\(number)")
    guard let target = readLink(link) else { return .failure(Problem(text: name)) }
    var status = stat()
    // A pipe, a terminal, a journal's socket: nothing that can be read beside its reader.
    guard target.hasPrefix("/"), stat(link, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      return .failure(Problem(text: "\(name) (\(target))"))
    }
    return .success(nginx.root + target)
  }

  /// What the levels of the logs keep from them.
  private func hidden(_ logs: [LogSetting]) -> BlindSpot? {
    if let strict = logs.first(where: { $0.level < .error }) {
      return BlindSpot(
        id: "error-log-level",
        what: "an error log has level \(strict.level.name)"
          + (strict.location.map { " (\($0))" } ?? ""),
        cost: "upstream errors, which have level error, are not written there",
        remedy: "write `error_log ... info;`")
    }
    guard let level = logs.map(\.level).max() else { return nil }
    let lost: String
    switch level {
    case .error: lost = "disabled peers, reloads and clients that left are not logged"
    case .warn: lost = "reloads and clients that left are not logged"
    case .notice: lost = "clients that left and idle websockets are not logged"
    default: return nil
    }
    return BlindSpot(
      id: "error-log-level", what: "the error log has level \(level.name)", cost: lost,
      remedy: "add `error_log /var/log/nginx/upclose.log info;`")
  }
}
