import Evidence
import Glibc
import LinuxHost
import NginxProbe
import PortProbe

/// Which endpoints the targets are now: names and nginx's configuration are looked up on threads of
/// their own, again and again.
struct TargetDirectory {
  private let sources: SweepSources
  private let names: NameLookup?
  private let upstreamLookup: UpstreamLookup?
  private var missing: Set<String>
  private var addresses: [String: [IPAddress]] = [:]
  private var whyNot: [String: String] = [:]
  private var upstreams: [UpstreamOfNginx]?

  /// - Parameter repeats: whether they are looked up again.
  /// - Throws: `ProbeError` when there can be no thread.
  init(_ sources: SweepSources, interval: TimeSpan, repeats: Bool) throws {
    self.sources = sources
    let list = sources.names
    missing = Set(list)
    let interval = repeats ? interval : .seconds(86_400)
    names = list.isEmpty ? nil : NameLookup(list, interval: interval)
    upstreamLookup = sources.nginx.isEmpty ? nil : UpstreamLookup(sources, interval: interval)
    try names?.start()
    try upstreamLookup?.start()
  }

  /// Readable when `update` has news.
  var descriptors: [Int32] { [names?.descriptor, upstreamLookup?.descriptor].compactMap { $0 } }

  var targets: [SweepTarget] { sources.targets(addresses, upstreams?.map(\.target) ?? []) }

  /// Names without an address, and why.
  var failures: [String] {
    whyNot.sorted { $0.key < $1.key }.map { "cannot resolve \($0.key): \($0.value)" }
  }

  /// The server of nginx's configuration behind an endpoint.
  func upstream(of endpoint: Endpoint) -> UpstreamOfNginx? {
    upstreams?.first { $0.endpoint == endpoint }
  }

  /// - Returns: false when a signal came first.
  mutating func waitForAll(signals: Int32) -> Bool {
    while !missing.isEmpty || (upstreamLookup != nil && upstreams == nil) {
      var polled = ([signals] + descriptors).map {
        pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
      }
      _ = poll(&polled, nfds_t(polled.count), 1000)
      if polled[0].revents != 0 { return false }
      _ = update()
    }
    return true
  }

  /// Takes in what was looked up.
  /// - Returns: a sentence for each change, but not for the first answers.
  mutating func update() -> [String] {
    var events: [String] = []
    for answer in names?.take() ?? [] {
      let isFirst = missing.remove(answer.name) != nil
      let old = addresses[answer.name] ?? []
      if let failure = answer.failure {
        // The last known addresses stay: a resolver that is down takes no port with it.
        if !isFirst, whyNot[answer.name] == nil {
          events.append("\(answer.name) cannot be resolved any more: \(failure)")
        }
        whyNot[answer.name] = failure
        continue
      }
      let recovered = whyNot.removeValue(forKey: answer.name) != nil
      addresses[answer.name] = answer.addresses
      guard !isFirst, answer.addresses != old || recovered else { continue }
      events.append("\(answer.name) is now \(list(answer.addresses)), was \(list(old))")
    }
    if let now = upstreamLookup?.take() {
      let isFirst = upstreams == nil
      let old = Set(upstreams?.map(\.endpoint) ?? [])
      let new = Set(now.map(\.endpoint))
      // An nginx that is being restarted names nobody for a moment.
      if !isFirst, now.isEmpty, !old.isEmpty {
        events.append("nginx's configuration cannot be read; its targets stay")
      } else {
        upstreams = now
        if !isFirst, old != new {
          let added = new.subtracting(old).sorted().map { "+\($0)" }
          let removed = old.subtracting(new).sorted().map { "-\($0)" }
          events.append("nginx's upstreams changed: " + (added + removed).joined(separator: " "))
        }
      }
    }
    return events
  }

  private func list(_ addresses: [IPAddress]) -> String {
    addresses.isEmpty ? "unknown" : addresses.map(\.description).joined(separator: ", ")
  }
}
