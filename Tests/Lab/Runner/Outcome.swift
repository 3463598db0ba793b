import Evidence
import Glibc
import LabWorld

/// One fault beside what was said of it.
struct Outcome: Sendable {
  enum Close: String, Sendable, CaseIterable {
    case right, wrong, none
    /// The lab does not know the connection either (the fault says nothing of matching).
    case unrecorded
  }

  var scenario: String
  var truth: Truth
  var upstream: String
  /// The connection that it happened on; more than one where they cannot be told apart; nil: unknown.
  var ports: Set<UInt16>?
  var said: Said?
  var close: Close
  var causeIsRight: Bool

  /// The true cause; the first of those that the scenario takes for right.
  var cause: String { String(truth.cause.split(separator: "|").first ?? "") }

  var isWrong: Bool { !causeIsRight || close == .wrong || close == .none }
}

/// Joins the truth of a scenario with what upclose said, by the request's path and the upstream.
struct Judgement {
  var outcomes: [Outcome] = []
  /// Errors that nobody injected: of ordinary requests, hit by a fault beside them.
  var bystanders: [Said] = []
  /// Faults that were not made, and why.
  var failures: [String: Int] = [:]

  init(_ bed: Bed, said: [Said]) {
    failures = bed.book.failures
    var deeds: [String: (server: Server, deed: Deed)] = [:]
    var victims: [String: [UInt16: Deed]] = [:]
    for server in bed.servers {
      for (token, deed) in Deed.all(in: server.deeds) { deeds[token] = (server, deed) }
      victims[server.name] = Deed.victims(in: server.deeds)
    }
    var byToken: [String: [Said]] = [:]
    for one in said {
      if let token = one.token { byToken[token, default: []].append(one) }
    }
    var known: Set<Int> = []
    for var truth in bed.book.truths {
      let deed = deeds[truth.token]
      let server = bed.servers.first { $0.name == truth.backend } ?? deed?.server
      var ports = server.flatMap { Self.ports(of: truth, server: $0, deed: deed?.deed, bed.wire) }
      if truth.close == .nothing || server?.launch.unixSocket != nil { ports = [] }
      if truth.needsDeed, deed == nil, truth.close == .wire {
        // It was to be done by the application, which did not come to it: another request's fault
        // took the worker and all its connections.
        let port = ports?.first ?? 0
        guard let victim = server.flatMap({ victims[$0.name]?[port] }),
          let cause = bed.scenario.cause(of: victim.word)
        else {
          failures["\(truth.kind): no word of it from the application", default: 0] += 1
          continue
        }
        truth.cause = cause
      }
      let upstream = truth.group ?? server?.upstreamName ?? "?"
      let candidates = (byToken[truth.token] ?? []).filter { !known.contains($0.id) }
      let one =
        candidates.first { $0.upstream == upstream }
        ?? (candidates.count == 1 ? candidates[0] : nil)
      if let one { known.insert(one.id) }
      outcomes.append(
        Outcome(
          scenario: bed.scenario.name, truth: truth, upstream: upstream, ports: ports, said: one,
          close: Self.judge(one, ports, server),
          causeIsRight: one.map { said in
            truth.cause.split(separator: "|").contains { $0 == said.cause }
          } ?? false))
    }
    bystanders = said.filter { !known.contains($0.id) }
  }

  private static func ports(
    of truth: Truth, server: Server, deed: Deed?, _ wire: Wire
  ) -> Set<UInt16>? {
    switch truth.close {
    case .nothing: return []
    case .port(let port): return [port]
    case .opened:
      let ports = wire.opened(
        to: server.endpoint.address, from: truth.answer.begin, to: truth.answer.end)
      return ports.isEmpty ? nil : ports
    case .wire:
      // Encrypted requests show no token, but a backend that terminates TLS may know the port.
      if let port = wire.port(of: truth.token, to: server.endpoint.address) { return [port] }
      if let port = deed?.port, port != 0 { return [port] }
      return nil
    }
  }

  private static func judge(_ said: Said?, _ ports: Set<UInt16>?, _ server: Server?)
    -> Outcome.Close
  {
    guard let ports else { return .unrecorded }
    guard let said else { return .none }
    if ports.isEmpty { return said.hasClose ? .wrong : .right }
    guard let port = said.port else { return .none }
    return ports.contains(port) && said.responder == server?.endpoint.description ? .right : .wrong
  }
}

extension Scenario {
  /// What a request for this word leads to.
  func cause(of word: String) -> String? {
    phases.joined().first { ($0["word"] ?? $0.kind) == word }?.cause
  }
}

extension Deed {
  /// Connections that a dying worker of ours took along, by nginx's port.
  static func victims(in path: String) -> [UInt16: Deed] {
    var victims: [UInt16: Deed] = [:]
    forEachLine(of: path) { token, deed in
      if token == "-" { victims[deed.port] = deed }
    }
    return victims
  }
}
