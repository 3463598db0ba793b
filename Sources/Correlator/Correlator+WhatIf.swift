import Evidence

/// The session's exchanges under a changed setting.
extension Correlator {
  /// Counts what a setting would have changed, on every upstream. Call it after `finish`; incidents
  /// beyond the limit that is kept are left out.
  public func whatIf(_ setting: WhatIfSetting) -> [WhatIf] {
    let names = Set(standing.all.compactMap(\.upstream))
    let all = names.sorted().compactMap { name -> WhatIf? in
      let incidents = standing.all.filter { $0.upstream == name }
      let result = whatIf(setting, on: name, incidents)
      return result.ofErrors > 0 || (result.moreConnections ?? 0) != 0 ? result : nil
    }
    let idle = tallies.keys.sorted().filter {
      !names.contains($0.description) && groupsOf[.tcp($0)] != nil
    }.map { whatIf(setting, on: $0.description, []) }.filter { ($0.moreConnections ?? 0) != 0 }
    return all + idle
  }

  /// - Parameter incidents: those of the upstream.
  func whatIf(_ setting: WhatIfSetting, on upstream: String, _ incidents: [Incident]) -> WhatIf {
    var result = WhatIf(
      setting: setting, upstream: upstream, prevented: 0, uncertain: 0, ofErrors: 0, notes: [])
    let tally = Endpoint(upstream).flatMap { tallies[$0] }
    let groups = UpstreamPeer(upstream).flatMap { groupsOf[$0] } ?? []
    switch setting {
    case .keepaliveTimeout(let span): shorten(to: span, incidents, tally, groups, &result)
    case .keepaliveRequests(let number): limit(to: number, incidents, tally, groups, &result)
    case .keepalive(let number): pool(of: number, incidents, tally, groups, &result)
    case .nextUpstream(let words): retry(words, incidents, groups, &result)
    case .readTimeout(let span): wait(span, incidents, &result)
    case .maxFails(let number): tolerate(number, incidents, &result)
    }
    return result
  }

  /// Races for an idle connection: those that any end of reuse prevents.
  private func races(_ incidents: [Incident]) -> [Incident] {
    incidents.filter {
      [.staleKeepalive, .changedDefaults, .requestLimit, .nginxReload].contains($0.verdict.cause)
        && $0.close?.idleBeforeClose != nil
    }
  }

  /// nginx lets go of a connection before the backend does, so a close after a longer idle time finds
  /// no request in flight.
  private func shorten(
    to span: TimeSpan, _ incidents: [Incident], _ tally: UpstreamTally?, _ groups: [UpstreamGroup],
    _ result: inout WhatIf
  ) {
    let now = groups.compactMap(\.keepaliveTimeout).max()
    for incident in races(incidents) {
      guard let idle = incident.close?.idleBeforeClose else { continue }
      result.ofErrors += 1
      if let now, span >= now { continue }
      // nginx's timer starts when it has read the answer, and runs in milliseconds of a cached clock.
      if (idle - span).magnitude < .milliseconds(20) {
        result.uncertain += 1
      } else if idle > span {
        result.prevented += 1
      }
    }
    if let now, span >= now {
      result.notes.append("nginx keeps them \(now): longer prevents nothing")
      result.moreConnections = 0
      return
    }
    guard let gaps = tally?.reuseGaps, !gaps.isEmpty else { return }
    result.ofReuses = Int(clamping: gaps.values.reduce(0, &+))
    var longer: UInt64 = 0
    for (bucket, count) in gaps where ReuseGaps.lowerBound(of: bucket + 1) > span {
      longer &+= count
    }
    result.moreConnections = Int(clamping: longer)
  }

  private func limit(
    to number: Int, _ incidents: [Incident], _ tally: UpstreamTally?, _ groups: [UpstreamGroup],
    _ result: inout WhatIf
  ) {
    let now = groups.compactMap(\.keepaliveRequests).max()
    for incident in races(incidents) where incident.close?.exchanges != nil {
      result.ofErrors += 1
      // The request that failed is counted, and was not served.
      let served = (incident.close?.exchanges ?? 0) - 1
      if served >= number, now.map({ number < $0 }) ?? true { result.prevented += 1 }
    }
    guard let counts = tally?.habits.served, !counts.isEmpty else { return }
    result.ofReuses = counts.reduce(0) { $0 + ($1.key - 1) * $1.value }
    guard now.map({ number < $0 }) ?? true else {
      result.notes.append("nginx's limit is \(now ?? 0): more prevents nothing")
      result.moreConnections = 0
      return
    }
    result.moreConnections = counts.reduce(0) { $0 + ($1.key - 1) / number * $1.value }
  }

  private func pool(
    of number: Int, _ incidents: [Incident], _ tally: UpstreamTally?, _ groups: [UpstreamGroup],
    _ result: inout WhatIf
  ) {
    let races = races(incidents)
    result.ofErrors = races.count
    let reuses = tally.map { $0.reuseGaps.values.reduce(0, &+) }.map { Int(clamping: $0) }
    result.ofReuses = reuses == 0 ? nil : reuses
    if number == 0 {
      result.prevented = races.count
      result.moreConnections = result.ofReuses
      return
    }
    let now = groups.compactMap(\.keepalive).max() ?? 0
    if number > now, let evicted = tally.flatMap({ evictions($0, groups) }) {
      result.moreConnections = -evicted
      result.notes.append("\(evicted) connections were let go because the pool of \(now) was full")
    }
    result.uncertain = number < now ? races.count : 0
  }

  /// What nginx would have tried again, and what would then have been sent twice.
  private func retry(
    _ words: [String], _ incidents: [Incident], _ groups: [UpstreamGroup], _ result: inout WhatIf
  ) {
    let peers =
      groups.map { group in
        group.servers.filter { !$0.isDown }.reduce(0) { $0 + $1.peers.count }
      }.max() ?? 0
    var twice = 0
    for incident in incidents where incident.kind.isUpstreamFailure && !incident.kind.isInBody {
      guard let word = incident.kind.nextUpstreamWord else { continue }
      if incident.retried == true { continue }
      if let status = incident.clientStatus, status < 500 { continue }
      result.ofErrors += 1
      let method = incident.request?.prefix { $0 != " " } ?? ""
      let isUnsent = incident.close.map { $0.requestDelivery == .neverSent } ?? false
      let isRefused =
        ["POST", "LOCK", "PATCH"].contains(method) && !words.contains("non_idempotent") && !isUnsent
      guard words.contains(word), !words.contains("off"), !isRefused, peers > 1 else { continue }
      // Another peer answered, or it did not.
      if incident.aftermath?.notRetriedBecause != nil {
        result.prevented += 1
      } else {
        result.uncertain += 1
      }
      if incident.retrySafety.isSafe != true { twice += 1 }
    }
    if peers == 1 { result.notes.append("the group has but one peer: there is no other to try") }
    if twice > 0 {
      result.notes.append(
        "\(twice) of these requests may have been executed already and would be sent twice")
    }
  }

  private func wait(_ span: TimeSpan, _ incidents: [Incident], _ result: inout WhatIf) {
    for incident in incidents {
      guard let age = incident.close?.requestAge else { continue }
      if incident.verdict.cause == .nginxClosedFirst,
        incident.kind == .headerTimedOut || incident.kind == .bodyTimedOut
      {
        result.ofErrors += 1
        // How long the backend would have needed was not seen: nginx had closed.
        if span > age + .milliseconds(50) { result.uncertain += 1 }
      } else if incident.close?.closer == .responder, age > span {
        result.ofErrors += 1
        result.notes = [
          "what the backend ends later than \(span) would be a 504 of nginx's instead"
        ]
      }
    }
  }

  /// "no live upstreams" where no peer had failed so often within its fail_timeout.
  private func tolerate(_ number: Int, _ incidents: [Incident], _ result: inout WhatIf) {
    for incident in incidents where incident.kind == .noLiveUpstreams {
      result.ofErrors += 1
      guard !incident.roots.isEmpty else {
        result.uncertain += 1
        continue
      }
      let survives = incident.roots.contains { root in
        guard let peer = standing.kept(root)?.upstream else { return false }
        return number == 0 || failures(of: peer, before: incident) < number
      }
      if survives { result.prevented += 1 }
    }
    if result.ofErrors > 0 {
      result.notes.append("requests would have gone on to the peers that failed")
    }
  }

  private func failures(of peer: String, before incident: Incident) -> Int {
    let window = (UpstreamPeer(peer).flatMap { groupsOf[$0] } ?? []).flatMap(\.servers)
      .filter { $0.peers.contains { $0.description == peer } }.map(\.failTimeout).max()
    let start = incident.time.best - (window ?? .seconds(10))
    return standing.all.count {
      $0.upstream == peer && $0.kind.countsAsPeerFailure && $0.time.best >= start
        && $0.id < incident.id
    }
  }

  /// Idle connections that nginx closed though neither its keepalive_timeout nor its
  /// keepalive_requests was reached: the pool was full, and the longest idle had to go (nginx-1.22.1
  /// ngx_http_upstream_keepalive_module.c:379). Nil when the group keeps none, or nothing was seen.
  func evictions(_ tally: UpstreamTally, _ groups: [UpstreamGroup]) -> Int? {
    guard let timeout = groups.compactMap(\.keepaliveTimeout).min(),
      groups.contains(where: { $0.keepalive != nil }), !tally.habits.nginxCloses.isEmpty
    else { return nil }
    let most = groups.compactMap(\.keepaliveRequests).min() ?? Int.max
    // A worker that goes lets go of all at once, and a connection lives no longer than keepalive_time.
    let early = timeout.nanoseconds / 10 * 9
    return tally.habits.nginxCloses.count { close in
      close.idle.nanoseconds < early && close.served.map { $0 < most } ?? false
    }
  }
}

extension NginxMessage {
  /// The word of proxy_next_upstream that this failure is (ngx_http_upstream.c:4276-4429); nil: it is
  /// never tried again.
  var nextUpstreamWord: String? {
    switch self {
    case .connectTimedOut, .tlsTimedOut, .sendTimedOut, .headerTimedOut: "timeout"
    case .headerTooBig, .invalidResponse, .protocolError: "invalid_header"
    case .connectFailed, .connectRefusedAtOnce, .tlsClosed, .tlsHandshakeFailed,
      .tlsCertificateRejected, .tlsTransferFailed, .sendFailed, .recvFailed, .prematurelyClosed,
      .prematureResponse:
      "error"
    default: nil
    }
  }
}
