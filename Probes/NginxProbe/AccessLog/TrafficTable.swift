import Evidence

/// The totals of each upstream, found by the bytes of its address: every line is counted, and most
/// name one of a few upstreams.
struct TrafficTable {
  struct Values {
    var tries: UInt64 = 0
    var failures: UInt64 = 0
    var hidden: UInt64 = 0
    var connect = Distribution()
    var header = Distribution()
    var response = Distribution()
    var succeededBytes = Distribution()
    var failedBytes = Distribution()
    var isNew = true
  }

  /// Owns one upstream's values, which stand behind a pointer: every line touches several, and each
  /// touch of an object's own properties would be checked.
  private final class Totals {
    let peer: UpstreamPeer
    let values: UnsafeMutablePointer<Values>

    init(_ peer: UpstreamPeer) {
      self.peer = peer
      values = .allocate(capacity: 1)
      values.initialize(to: Values())
    }

    deinit {
      values.deinitialize(count: 1)
      values.deallocate()
    }

    var traffic: UpstreamTraffic {
      UpstreamTraffic(
        upstream: peer, tries: values.pointee.tries, failures: values.pointee.failures,
        hidden: values.pointee.hidden,
        connectTime: values.pointee.connect.quantiles(unit: 0.001),
        headerTime: values.pointee.header.quantiles(unit: 0.001),
        responseTime: values.pointee.response.quantiles(unit: 0.001),
        succeededRequestBytes: values.pointee.succeededBytes.quantiles(unit: 1),
        failedRequestBytes: values.pointee.failedBytes.quantiles(unit: 1))
    }
  }

  private var names = NameTable()
  private var owners: [Totals] = []
  /// Those of the owners, by the names' numbers.
  private var values: [UnsafeMutablePointer<Values>] = []
  /// Lines of upstreams beyond the table's limit.
  private(set) var uncounted: UInt64 = 0

  /// The totals of an upstream, which live as long as this table; nil when there are too many.
  @inline(__always)
  mutating func totals(_ name: UnsafeBufferPointer<UInt8>) -> UnsafeMutablePointer<Values>? {
    guard let number = names.number(of: name) else {
      uncounted += 1
      return nil
    }
    if number == values.count { add(name) }
    let found = values[number]
    found.pointee.isNew = true
    return found
  }

  private mutating func add(_ name: UnsafeBufferPointer<UInt8>) {
    let totals = Totals(UpstreamPeer(String(escapingControlsIn: name)) ?? .group(""))
    owners.append(totals)
    values.append(totals.values)
  }

  /// Everything so far.
  var all: [UpstreamTraffic] { owners.map(\.traffic) }

  /// The totals that changed since they were last taken.
  mutating func takeNews() -> [UpstreamTraffic] {
    var news: [UpstreamTraffic] = []
    for owner in owners where owner.values.pointee.isNew {
      owner.values.pointee.isNew = false
      news.append(owner.traffic)
    }
    return news
  }
}
