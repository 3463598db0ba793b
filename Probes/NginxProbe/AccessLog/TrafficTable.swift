import Evidence
import Glibc

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

  /// A class, so that a line's few additions move nothing; its numbers behind a pointer, since every
  /// line touches several and each touch of a class's own would be checked.
  final class Totals {
    let name: [UInt8]
    let hash: UInt64
    let peer: UpstreamPeer
    let values: UnsafeMutablePointer<Values>

    init(name: [UInt8], hash: UInt64, peer: UpstreamPeer) {
      self.name = name
      self.hash = hash
      self.peer = peer
      values = .allocate(capacity: 1)
      values.initialize(to: Values())
    }

    deinit {
      values.deinitialize(count: 1)
      values.deallocate()
    }

    func isNamed(_ other: UnsafeBufferPointer<UInt8>) -> Bool {
      guard name.count == other.count, let base = other.baseAddress else { return name == [] }
      return name.withUnsafeBufferPointer { own in
        own.baseAddress.map { memcmp($0, base, other.count) == 0 } ?? true
      }
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

  /// More upstreams than any configuration has; those beyond are not counted apart.
  private static let limit = 4096
  private static let mask = 16_383

  private(set) var all: [Totals] = []
  private var slots = [Int16](repeating: -1, count: mask + 1)
  private(set) var uncounted: UInt64 = 0

  /// The totals of an upstream; nil when there are too many.
  mutating func totals(_ name: UnsafeBufferPointer<UInt8>) -> Totals? {
    let hash = hashOf(name)
    var slot = Int(truncatingIfNeeded: hash >> 32) & Self.mask
    while case let index = Int(slots[slot]), index >= 0 {
      let known = all[index]
      if known.hash == hash, known.isNamed(name) {
        known.values.pointee.isNew = true
        return known
      }
      slot = (slot + 1) & Self.mask
    }
    guard all.count < Self.limit, let peer = UpstreamPeer(String(escapingControlsIn: name)) else {
      uncounted += 1
      return nil
    }
    slots[slot] = Int16(all.count)
    let totals = Totals(name: Array(name), hash: hash, peer: peer)
    all.append(totals)
    return totals
  }

  /// The totals that changed since they were last taken.
  mutating func takeNews() -> [UpstreamTraffic] {
    var news: [UpstreamTraffic] = []
    for index in all.indices where all[index].values.pointee.isNew {
      all[index].values.pointee.isNew = false
      news.append(all[index].traffic)
    }
    return news
  }
}
