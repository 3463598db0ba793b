import ArgumentParser
import Evidence
import LinuxHost
import NginxProbe

struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract:
      "What this host lets upclose see, what it costs where it does not, and how to see more.",
    discussion: """
      Opens each source that attach uses, and closes it again: packets, the kernel's log, tracepoints, \
      sockets, processes, the backends' own logs; and looks at each running nginx: its logs, their \
      levels and formats. Prints the log_format that makes the join of a request with its errors, its \
      tries and their packets exact. Changes nothing, and needs no nginx. Exit code 1 when something is \
      not seen.
      """)

  @Option(help: ArgumentHelp("The nginx master to look at, if several run.", valueName: "master"))
  var pid: Int32?

  @Option(
    help: ArgumentHelp("Look at this nginx.conf (or nginx -T) instead.", valueName: "file"))
  var nginxConfig: String?

  @Option(help: "text or json (one document).")
  var format = DoctorFormat.text

  func run() throws {
    var checks = nginxConfig == nil ? SourceCheck.host() : []
    let all: [LoadedNginx]
    do {
      all = try loaded(&checks)
    } catch {
      throw fail("\(error)")
    }
    if nginxConfig == nil {
      let named = all.flatMap(\.instance.upstreams).flatMap(\.servers).flatMap(\.peers)
      let ports = Set(named.compactMap { $0.endpoint?.port })
      checks += SourceCheck.backendLogs(all.isEmpty ? nil : ports)
    }
    var report = DoctorReport(
      checks: checks, nginx: all.map { describe($0) }, advice: [],
      isComplete: checks.allSatisfy(\.isComplete))
    for nginx in all {
      if !nginx.blindSpots.isEmpty { report.isComplete = false }
      for log in accessLogs(nginx) where !log.missing.isEmpty { report.isComplete = false }
    }
    if all.contains(where: { nginx in !accessLogs(nginx).contains { $0.missing.isEmpty } }) {
      report.advice = ["write in http, and reload nginx:", ""]
      report.advice += AccessLogFormat.recommendedDirective.split(separator: "\n").map {
        "    " + $0
      }
      report.advice.append("    access_log /var/log/nginx/upclose-access.log upclose;")
    }
    do {
      let target = try Output(path: nil)
      target.write(format == .json ? report.json : report.text)
      target.flush()
      if let failure = target.failure { throw fail(failure) }
    } catch let error as ProbeError { throw fail("\(error)") }
    if !report.isComplete { throw Exit.found }
  }

  /// Nothing, and a line of the table that says so, where no nginx runs.
  private func loaded(_ checks: inout [SourceCheck]) throws -> [LoadedNginx] {
    if let nginxConfig { return [try LoadedNginx(file: nginxConfig)] }
    let discovery = NginxDiscovery()
    let found = discovery.find().filter { nginx in
      pid.map { $0 == nginx.master || nginx.workers.contains($0) } ?? true
    }
    if found.isEmpty, let pid {
      throw ProbeError(
        doing: "look at nginx \(pid)", reason: "no nginx master has this pid",
        remedy: "give its configuration: upclose doctor --nginx-config /etc/nginx/nginx.conf")
    }
    if found.isEmpty {
      checks.append(
        SourceCheck(
          "nginx", .no, "no master process runs (\(discovery.whereItLooks))",
          cost: "its errors; on a backend's host attach --role backend needs none",
          remedy: "start it, or give its configuration: upclose doctor --nginx-config "
            + "/etc/nginx/nginx.conf"))
    }
    return found.compactMap { nginx in
      let name = "master \(nginx.master), \(nginx.configurationPath)"
      do {
        let loaded = try nginx.load()
        checks.append(SourceCheck("nginx", .yes, name))
        return loaded
      } catch {
        checks.append(
          SourceCheck(
            "nginx", .partly, "\(name): \(error)", cost: "its logs, upstreams and workers",
            remedy: "name what to watch: --error-log FILE --upstream ADDRESS:PORT"))
        return nil
      }
    }
  }

  private func describe(_ nginx: LoadedNginx) -> [String] {
    let title = AuditResult(loaded: nginx, findings: []).title
    var lines = [title]
    for log in nginx.settings.errorLogs {
      let place = log.location.map { " (\($0))" } ?? ""
      lines.append("  error log at level \(log.level.name): \(name(log.target))\(place)")
    }
    for log in accessLogs(nginx) {
      lines.append("  access log \(log.name) in log_format \(log.format)")
      if log.missing.isEmpty {
        lines.append("    it has every field")
        continue
      }
      lines.append("    it lacks, so that it is not known")
      for variable in log.missing {
        lines.append("      \(variable): \(AccessLogFormat.use(of: variable) ?? "")")
      }
    }
    for spot in nginx.blindSpots where !spot.id.hasPrefix("access-log") {
      lines.append(
        "  not seen: \(spot.what): \(spot.cost)" + (spot.remedy.map { "; \($0)" } ?? ""))
    }
    return lines
  }

  private func accessLogs(
    _ nginx: LoadedNginx
  ) -> [(name: String, format: String, missing: [String])] {
    let formats = AccessLogFormats(nginx.directives)
    return nginx.settings.accessLogs.compactMap { log in
      guard let format = log.format else { return nil }
      let missing = formats[format].map { AccessLogFormat.missingFields($0.variables) } ?? []
      return (name(log.target), String(escapingControlsIn: format.utf8), missing)
    }
  }

  private func name(_ target: LogSetting.Target) -> String {
    let text: String =
      switch target {
      case .file(let path), .variable(let path): path
      case .stderr: "standard error"
      case .syslog(let server): "syslog \(server)"
      case .memory: "memory"
      }
    return String(escapingControlsIn: text.utf8)
  }
}

enum DoctorFormat: String, ExpressibleByArgument, CaseIterable {
  case text, json
}
