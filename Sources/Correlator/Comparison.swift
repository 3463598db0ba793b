import Evidence

/// What differs between two backends of one group, and whether the difference is chance.
public struct Comparison: Hashable, Codable, Sendable {
  public var group: String
  public var a: String
  public var b: String
  /// As `errors`, `refused`, `idle timeout`.
  public var what: String
  /// As `41 of 2104 against 2 of 2090`.
  public var text: String
  /// How likely so large a difference is where there is none.
  public var pValue: Double
  /// Which has more of it (or the longer), where the difference is no chance.
  public var more: String?
}

/// Compares the backends of a group two by two.
///
/// Proportions by Fisher's exact test, two-sided. Measured limits, each a crowd of values that lie
/// apart from the other's, by the exact probability that ranks part so by chance (2 / (n+m choose n),
/// the extreme of the Mann-Whitney test). A difference is called none of chance at p < 0.01: a few
/// comparisons a pair are made, and one in a hundred of them may err.
enum Comparing {
  static let level = 0.01

  static func compare(
    _ upstreams: [UpstreamStatistics], in groups: [UpstreamGroup]
  ) -> [Comparison] {
    let known = Dictionary(upstreams.map { ($0.upstream, $0) }) { first, _ in first }
    var found: [Comparison] = []
    var told: Set<[String]> = []
    for group in groups {
      let peers = group.servers.flatMap(\.peers).map(\.description)
      let members = Set(peers).sorted().compactMap { known[$0] }
      guard members.count > 1, told.insert(members.map(\.upstream)).inserted else { continue }
      // Each with the first: pairs are what people have, and all pairs of many would be noise.
      for other in members.dropFirst().prefix(7) {
        found += compare(members[0], other, group.name)
      }
    }
    return found
  }

  private static func compare(
    _ a: UpstreamStatistics, _ b: UpstreamStatistics, _ group: String
  ) -> [Comparison] {
    var all: [Comparison] = []
    func proportion(_ what: String, _ unit: String, _ of: (UpstreamStatistics) -> (Int, Int)) {
      let (hitsA, triesA) = of(a)
      let (hitsB, triesB) = of(b)
      guard triesA > 0, triesB > 0, hitsA + hitsB > 0, hitsA <= triesA, hitsB <= triesB else {
        return
      }
      let p = fisher(hitsA, of: triesA, hitsB, of: triesB)
      let isHigherA = Double(hitsA) * Double(triesB) > Double(hitsB) * Double(triesA)
      all.append(
        Comparison(
          group: group, a: a.upstream, b: b.upstream, what: what,
          text: "\(hitsA) of \(triesA) \(unit) against \(hitsB) of \(triesB)", pValue: p,
          more: p < level ? (isHigherA ? a.upstream : b.upstream) : nil))
    }
    proportion("errors", "requests") { ($0.errors, max($0.errors, $0.requests)) }
    proportion("refused", "connections") { ($0.refused, $0.connectionsEnded) }
    proportion("closed in an exchange", "connections") { ($0.abnormalCloses, $0.connectionsEnded) }
    proportion("port not open", "checks") { ($0.checks - $0.checksOpen, $0.checks) }
    if let own = a.idleTimeout, let other = b.idleTimeout {
      all += limits("idle timeout", own, other, a, b, group)
    }
    if let own = a.requestAge, let other = b.requestAge {
      all += limits("request age limit", own, other, a, b, group)
    }
    return all
  }

  private static func limits(
    _ what: String, _ own: Estimate, _ other: Estimate, _ a: UpstreamStatistics,
    _ b: UpstreamStatistics, _ group: String
  ) -> [Comparison] {
    let gap = (own.value - other.value).magnitude
    // Crowds that touch are one limit with jitter.
    guard gap > own.spread + other.spread + .milliseconds(50) else { return [] }
    let ways = logChoose(own.count + other.count, own.count)
    let p = min(1, 2 * ratio(decibans: -ways * 10 / 2.302585092994046))
    return [
      Comparison(
        group: group, a: a.upstream, b: b.upstream, what: what,
        text: "\(own.value) (n=\(own.count)) against \(other.value) (n=\(other.count))", pValue: p,
        more: p < level ? (own.value > other.value ? a.upstream : b.upstream) : nil)
    ]
  }
}

extension UpstreamStatistics {
  /// Requests sent to it, as far as any source counted them: the access log's tries; else the reuses and
  /// the connections, each of which carried one request more.
  var requests: Int {
    if let traffic, traffic.tries > 0 { return Int(clamping: traffic.tries) }
    return Int(clamping: reuses) + connectionsEnded
  }
}
