public import Evidence

/// How often what stands in an error log.
public struct ErrorLogCensus: Hashable, Sendable {
  public var messages: [NginxMessage: Int] = [:]
  /// Lines of each worker (and master), by pid.
  public var workers: [Int32: Int] = [:]
  /// Failures of each upstream.
  public var upstreams: [UpstreamPeer: Int] = [:]
}

/// Counts entries without a copy of any of their words.
struct LogCensus {
  private var messages = [Int](repeating: 0, count: NginxMessage.allCases.count)
  private var workers: [Int32: Int] = [:]
  private var lastWorker: (pid: Int32, count: Int) = (0, 0)
  private var upstreams = TrafficTable()
  private static let numbers = Dictionary(
    uniqueKeysWithValues: NginxMessage.allCases.enumerated().map { ($1, $0) })
  private let numbers = Self.numbers
  /// Errors come in runs.
  private var lastKind = (kind: NginxMessage.allCases[0], number: 0)

  mutating func count(_ entry: ScannedEntry, _ bytes: Span<UInt8>) {
    if entry.kind != lastKind.kind, let number = numbers[entry.kind] {
      lastKind = (entry.kind, number)
    }
    messages[lastKind.number] += 1
    if entry.header.pid == lastWorker.pid {
      lastWorker.count += 1
    } else {
      workers[lastWorker.pid, default: 0] += lastWorker.count
      lastWorker = (entry.header.pid, 1)
    }
    guard entry.kind.isUpstreamFailure, let range = entry.context.upstream,
      let name = UpstreamValue.peerRange(bytes, range)
    else { return }
    bytes.extracting(name).withUnsafeBufferPointer { name in
      upstreams.totals(name)?.values.pointee.failures += 1
    }
  }

  var result: ErrorLogCensus {
    var result = ErrorLogCensus()
    for (message, count) in zip(NginxMessage.allCases, messages) where count > 0 {
      result.messages[message] = count
    }
    result.workers = workers
    result.workers[lastWorker.pid, default: 0] += lastWorker.count
    result.workers = result.workers.filter { $0.value > 0 }
    for totals in upstreams.all {
      result.upstreams[totals.peer, default: 0] += Int(totals.values.pointee.failures)
    }
    return result
  }
}
