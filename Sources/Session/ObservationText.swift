import Evidence

/// An observation in one line, for whoever reads a session in Wireshark.
enum ObservationText {
  /// As syslog's.
  static func priority(_ fact: Observation.Fact) -> Int {
    switch fact {
    case .nginxLine(let line):
      ["emerg": 0, "alert": 1, "crit": 2, "error": 3, "warn": 4, "notice": 5][line.level] ?? 6
    case .kernel(let event):
      if case .other = event.kind { 6 } else { 3 }
    case .blindSpot: 4
    case .processExit(let exit): exit.signal == nil ? 5 : 4
    case .resetSent, .signal, .nginx, .processReplaced: 5
    case .port(let check): check.outcome == .open ? 7 : 4
    case .counters, .socket, .process, .packets: 7
    default: 6
    }
  }

  static func message(_ fact: Observation.Fact) -> String {
    String(escapingControlsIn: words(fact).utf8)
  }

  private static func words(_ fact: Observation.Fact) -> String {
    switch fact {
    case .connection(let connection): self.connection(connection)
    case .packets(let trail):
      "the last \(trail.packets.count) packets of \(trail.flow): "
        + trail.packets.suffix(8).map {
          "\($0.isFromOriginator ? ">" : "<")\($0.flags)\($0.length > 0 ? " \($0.length)" : "")"
        }.joined(separator: " ")
    case .ordinaryCloses(let closes):
      "\(closes.responder): ordinary closes: \(closes.byResponder) by the backend, "
        + "\(closes.byOriginator) by nginx, \(closes.inUnknownPhase) in an unknown phase"
    case .reuseGaps(let gaps):
      "\(gaps.responder): \(gaps.counts.values.reduce(0, +)) connections were reused"
    case .nginxLine(let line): nginxLine(line)
    case .nginxRequest(let request):
      "nginx: \(request.request ?? "-"): the client got \(request.status)"
    case .upstreamTraffic(let traffic):
      "\(traffic.upstream): \(traffic.tries) tries so far, \(traffic.failures) failed"
    case .nginx(let nginx):
      "nginx \(nginx.version ?? "of unknown version"), master \(optional(nginx.master)), workers "
        + nginx.workers.map(String.init).joined(separator: " ")
        + ", upstreams \(nginx.upstreams.map(\.name).joined(separator: " "))"
    case .kernel(let event): "kernel: \(event.text)"
    default: hostWords(fact)
    }
  }

  private static func hostWords(_ fact: Observation.Fact) -> String {
    switch fact {
    case .socket(let socket):
      "\(socket.role.rawValue) socket \(ends(socket.local, socket.remote)), inode \(socket.inode)"
        + (socket.queued.map { ", \($0) of \(optional(socket.backlog)) wait" } ?? "")
    case .process(let sighting):
      "\(name(sighting.process)) holds \(sighting.inodes.count) watched sockets"
    case .processExit(let exit):
      "\(name(exit.process)) ended"
        + (exit.signal.map { ": signal \($0)" } ?? exit.code.map { ": exit code \($0)" } ?? "")
    case .processReplaced(let replaced):
      "\(name(replaced.old)) became \(name(replaced.new))"
    case .signal(let signal):
      "signal \(signal.signal) to \(name(signal.target)) from "
        + (signal.sender.map(name) ?? "the kernel")
    case .socketAct(let act):
      "\(name(act.process)) \(act.act.rawValue) \(ends(act.local, act.remote))"
        + (act.isExiting ? " while it ended" : "")
    case .resetSent(let reset):
      "reset sent \(ends(reset.local, reset.remote))" + (reset.reason.map { ": \($0)" } ?? "")
    case .socketDeath(let death):
      "\(death.role.rawValue) socket \(ends(death.local, death.remote)) is gone"
    case .unixSocket(let socket): "\(socket.role.rawValue) socket unix:\(socket.path)"
    case .descriptors(let use):
      "\(name(use.process)) holds \(use.used) of \(use.limit) descriptors"
    case .port(let check):
      "port \(check.target) \(check.outcome.rawValue)"
        + (check.connectTime.map { " in \($0)" } ?? "") + (check.reason.map { ": \($0)" } ?? "")
    case .counters(let counters):
      "\(counters.source): \(counters.seen) seen, \(counters.lost) lost"
    case .blindSpot(let spot): "not seen: \(spot.what): \(spot.cost)"
    default: kind(fact)
    }
  }

  /// As `nginxLine`: the name of a case.
  static func kind(_ fact: Observation.Fact) -> String {
    Mirror(reflecting: fact).children.first?.label ?? "observation"
  }

  private static func connection(_ connection: Connection) -> String {
    var text = "connection \(connection.flow) \(connection.connState.rawValue)"
    if connection.closer != .none {
      text += " closed by \(connection.closer.rawValue)"
      if let manner = connection.manner { text += " (\(manner.rawValue))" }
      text += ", \(connection.phase.rawValue)"
      if connection.phase == .idle, let idle = connection.idleBeforeClose { text += " for \(idle)" }
    }
    return text + ", history \(connection.history)"
  }

  private static func nginxLine(_ line: NginxLine) -> String {
    var text = "nginx[\(line.worker)] \(line.level): "
    if let connection = line.connection { text += "*\(connection) " }
    text += line.text
    if let errno = line.errno { text += " (errno \(errno))" }
    if let action = line.action { text += " while \(action)" }
    if let upstream = line.upstream { text += ", upstream: \(upstream)" }
    if let request = line.request { text += ", request: \"\(request)\"" }
    return text
  }

  private static func ends(_ local: Endpoint, _ remote: Endpoint?) -> String {
    remote.map { "\(local) - \($0)" } ?? "\(local)"
  }

  private static func name(_ process: ProcessIdentity) -> String {
    "pid \(process.pid) (\(process.command))"
  }

  private static func optional(_ value: (some CustomStringConvertible)?) -> String {
    value.map(\.description) ?? "-"
  }
}
