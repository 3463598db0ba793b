import Evidence

/// The totals of each upstream, found by the bytes of its address: every line is counted, and most
/// name one of a few upstreams.
struct TrafficTable {
  struct Totals {
    let name: [UInt8]
    let hash: UInt64
    let peer: UpstreamPeer
    var tries: UInt64 = 0
    var failures: UInt64 = 0
    var hidden: UInt64 = 0
    var connect = Distribution()
    var header = Distribution()
    var response = Distribution()
    var succeededBytes = Distribution()
    var failedBytes = Distribution()
    var isNew = true

    var traffic: UpstreamTraffic {
      UpstreamTraffic(
        upstream: peer, tries: tries, failures: failures, hidden: hidden,
        connectTime: connect.quantiles(unit: 0.001), headerTime: header.quantiles(unit: 0.001),
        responseTime: response.quantiles(unit: 0.001),
        succeededRequestBytes: succeededBytes.quantiles(unit: 1),
        failedRequestBytes: failedBytes.quantiles(unit: 1))
    }
  }

  /// More upstreams than any configuration has; those beyond are not counted apart.
  private static let limit = 4096
  private static let mask = 16_383

  private(set) var all: [Totals] = []
  private var slots = [Int16](repeating: -1, count: mask + 1)
  private(set) var uncounted: UInt64 = 0

  /// Changes the totals of an upstream.
  mutating func with(
    _ name: UnsafeBufferPointer<UInt8>, _ change: (inout Totals) -> Void
  ) {
    let hash = Self.hash(name)
    var slot = Int(truncatingIfNeeded: hash >> 32) & Self.mask
    while case let index = Int(slots[slot]), index >= 0 {
      if all[index].hash == hash, all[index].name.elementsEqual(name) {
        change(&all[index])
        all[index].isNew = true
        return
      }
      slot = (slot + 1) & Self.mask
    }
    guard all.count < Self.limit, let peer = UpstreamPeer(String(escapingControlsIn: name)) else {
      uncounted += 1
      return
    }
    slots[slot] = Int16(all.count)
    var totals = Totals(name: Array(name), hash: hash, peer: peer)
    change(&totals)
    all.append(totals)
  }

  /// The totals that changed since they were last taken.
  mutating func takeNews() -> [UpstreamTraffic] {
    var news: [UpstreamTraffic] = []
    for index in all.indices where all[index].isNew {
      all[index].isNew = false
      news.append(all[index].traffic)
    }
    return news
  }

  @inline(__always)
  private static func hash(_ name: UnsafeBufferPointer<UInt8>) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in name { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
    return hash
  }
}
