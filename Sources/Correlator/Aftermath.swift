public import Evidence

/// What nginx did after an error, and what the client had of it.
public struct Aftermath: Hashable, Codable, Sendable {
  /// Every try of the request; empty without an access log.
  public var tries: [UpstreamTry] = []
  /// Why nginx did not try another peer; nil when it did, or when that cannot be told.
  public var notRetriedBecause: String?
  /// The client got less than the header promised it.
  public var isCut: Bool?
  /// How long the client waited.
  public var duration: TimeSpan?
  /// The peer was taken out by this error.
  public var disabled: Disabled?

  public struct Disabled: Hashable, Codable, Sendable {
    public var peer: String
    /// From then on one request tries it again; nginx counts whole seconds, so up to a second later.
    public var until: Timestamp
    /// The worker that knows of it; nil: all (a `zone`).
    public var worker: Int32?
  }
}

/// nginx's rules of what follows an error (nginx-1.22.1, ngx_http_upstream.c:4276-4429,
/// ngx_http_upstream_round_robin.c:449-651).
struct AftermathRules {
  var line: NginxLine
  var group: UpstreamGroup?
  var request: NginxRequest?

  /// Whether another try followed; nil without an access log.
  var retried: Bool? {
    guard let request else { return nil }
    return request.wasRetried(after: line.upstream)
      ?? request.tries.dropFirst().contains { !$0.followsRedirect }
  }

  var notRetriedBecause: String? {
    if line.message == .noLiveUpstreams { return "no peer was left to try" }
    if line.message.isInBody { return "the client had the response's header already" }
    guard let request, retried == false, let word = line.message.nextUpstreamWord else {
      return nil
    }
    let rules = group?.retry
    let words = rules?.nextUpstream ?? ["error", "timeout"]
    if words.contains("off") || !words.contains(word) {
      return "proxy_next_upstream does not list \(word)"
    }
    let method = line.request?.prefix { $0 != " " } ?? ""
    let attempt = request.attempt(of: line)
    if ["POST", "LOCK", "PATCH"].contains(method), !words.contains("non_idempotent"),
      attempt.map({ $0.connectTime != nil }) ?? true
    {
      return "\(method) is not sent twice (proxy_next_upstream without non_idempotent)"
    }
    if let rules, !rules.buffersRequests, ["POST", "PUT", "PATCH"].contains(method) {
      return "its body was passed on as it came (proxy_request_buffering off)"
    }
    if let tries = rules?.tries, tries > 0, request.tries.count >= tries {
      return "proxy_next_upstream_tries \(tries)"
    }
    guard let group else { return nil }
    let peers = group.servers.filter { !$0.isDown }.reduce(0) { $0 + $1.peers.count }
    if peers == 1 { return "the group has but one peer" }
    return request.tries.count >= peers && peers > 0 ? "every peer had been tried" : nil
  }

  /// - Parameter failures: of this peer within its `fail_timeout`, this one included.
  func disabled(at time: TimeEstimate, failures: Int) -> Aftermath.Disabled? {
    guard line.message.countsAsPeerFailure, let peer = line.upstream, let group else { return nil }
    // A group of one address is never disabled.
    let addresses = group.servers.reduce(0) { $0 + max(1, $1.peers.count) }
    guard addresses > 1, let server = group.servers.first(where: { $0.peers.contains(peer) }),
      server.maxFails > 0, failures >= server.maxFails, server.failTimeout > .zero
    else { return nil }
    return Aftermath.Disabled(
      peer: peer.description, until: time.best + server.failTimeout,
      worker: group.hasZone ? nil : line.worker)
  }
}

/// The last failures of each peer as its workers know them, for `max_fails` above one.
struct FailureCounts {
  private struct Key: Hashable {
    var peer: UpstreamPeer
    var worker: Int32
  }

  private var recent: [Key: [Timestamp]] = [:]

  /// - Parameter worker: 0 for a group whose workers share a zone.
  /// - Returns: failures within the time, this one included.
  mutating func add(
    _ peer: UpstreamPeer, worker: Int32, at time: Timestamp, within span: TimeSpan
  ) -> Int {
    if recent.count > 10_000 { recent = recent.filter { time - ($0.value.last ?? time) < span } }
    let key = Key(peer: peer, worker: worker)
    var times = recent[key] ?? []
    times.append(time)
    times.removeAll { time - $0 > span }
    if times.count > 100 { times.removeFirst(times.count - 100) }
    recent[key] = times
    return times.count
  }
}
