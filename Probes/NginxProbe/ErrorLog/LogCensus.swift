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
  /// Pids by their last bits: those that share them take turns, and leave their counts in `rest`.
  private var workers = [(pid: Int32, count: Int)](repeating: (0, 0), count: 256)
  private var rest: [Int32: Int] = [:]
  private var names = NameTable()
  private var failures: [Int] = []

  /// - Parameter upstream: the bytes of the peer's name, for an upstream failure.
  @inline(__always)
  mutating func count(
    _ kind: NginxMessage, worker: Int32, upstream: UnsafeBufferPointer<UInt8>
  ) {
    messages[kind.ordinal] += 1
    let slot = Int(worker & 255)
    if workers[slot].pid != worker {
      rest[workers[slot].pid, default: 0] += workers[slot].count
      workers[slot] = (worker, 0)
    }
    workers[slot].count += 1
    guard !upstream.isEmpty, let number = names.number(of: upstream) else { return }
    if number == failures.count { failures.append(0) }
    failures[number] += 1
  }

  var result: ErrorLogCensus {
    var result = ErrorLogCensus()
    for (message, count) in zip(NginxMessage.allCases, messages) where count > 0 {
      result.messages[message] = count
    }
    result.workers = rest
    for worker in workers { result.workers[worker.pid, default: 0] += worker.count }
    result.workers = result.workers.filter { $0.value > 0 }
    for (number, count) in failures.enumerated() {
      guard let peer = UpstreamPeer(String(escapingControlsIn: names[number])) else { continue }
      result.upstreams[peer, default: 0] += count
    }
    return result
  }
}
