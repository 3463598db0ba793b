public import Evidence
import Glibc

/// Connects that wait to be started: in order, no faster than a rate, and no more than there is room
/// for.
public struct StartQueue {
  public struct Item: Sendable {
    public var target: Endpoint
    public var token: Int
    public init(target: Endpoint, token: Int) {
      self.target = target
      self.token = token
    }
  }

  /// Why some had to wait for others; the errno that told, as `EMFILE`.
  public private(set) var shortage: Int32?
  private var items: [Item] = []
  private var next = 0
  /// Nanoseconds between two SYNs; 0: no rate.
  private let pause: Int64
  private var nextStart: Int64 = 0
  /// Since when this host has lacked something.
  private var stuckSince: Int64?

  /// So many in one go; then the answers are looked at, so that their times are right.
  private static let batch = 128
  /// So long a shortage is borne while nothing of ours is in flight to end it.
  private static let patience: Int64 = 5_000_000_000

  /// - Parameter rate: SYNs a second; nil: as fast as it goes.
  public init(rate: Double? = nil) {
    pause = rate.map { $0 > 0 ? Int64(min(1e9 / $0, 3.6e12)) : 0 } ?? 0
  }

  public var isEmpty: Bool { next == items.count }
  public var count: Int { items.count - next }

  public mutating func add(_ new: some Sequence<Item>) {
    if isEmpty {
      items.removeAll(keepingCapacity: items.capacity < 4096)
      next = 0
    }
    items += new
  }

  /// Starts what may start now.
  /// - Parameter conversation: what is said on the connection of a token.
  /// - Returns: those that cannot be tried from this host, with their errno.
  public mutating func start(
    on engine: ConnectEngine, _ conversation: (Item) -> (any Conversation)? = { _ in nil }
  ) -> [(item: Item, error: Int32)] {
    var failed: [(item: Item, error: Int32)] = []
    let now = pause > 0 ? monotonicNow() : 0
    for _ in 0..<Self.batch where next < items.count {
      if pause > 0 {
        guard nextStart <= now else { break }
        // After a pause no burst makes up for it, but for what the timer's grain took away.
        nextStart = max(nextStart, now - 10_000_000) + pause
      }
      let item = items[next]
      switch engine.start(item.target, token: item.token, conversation: conversation(item)) {
      case .started:
        next += 1
        stuckSince = nil
      case .failed(let error):
        next += 1
        failed.append((item, error))
      case .noRoom(let error):
        guard error != 0 else { return failed }
        shortage = error
        guard isHopeless(engine) else { return failed }
        next += 1
        failed.append((item, error))
      }
    }
    return failed
  }

  private mutating func isHopeless(_ engine: ConnectEngine) -> Bool {
    let now = monotonicNow()
    // What is in flight will end, and give back what it holds.
    if engine.pendingCount > 0 { stuckSince = now }
    let since = stuckSince ?? now
    stuckSince = since
    return now - since > Self.patience
  }

  /// When `start` should be called again at the latest; nil when nothing waits.
  public func due(_ engine: ConnectEngine) -> Int64? {
    guard !isEmpty else { return nil }
    let now = monotonicNow()
    if stuckSince != nil { return now + 20_000_000 }
    if engine.pendingCount == engine.capacity { return now + 1_000_000_000 }
    return pause > 0 ? nextStart : now
  }
}
