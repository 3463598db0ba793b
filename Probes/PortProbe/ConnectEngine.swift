import CLinux
public import Evidence
import Glibc
import LinuxHost

/// Many TCP connects in flight on one epoll: the engine of the sweep and of the prober that runs
/// beside a session.
///
///     let engine = try ConnectEngine(.init(), inFlight: 4096)
///     while let target = next {
///       if case .noRoom = engine.start(target, token: 7) { engine.wait(until: monotonicNow() + …) }
///       for result in engine.takeResults() { … }
///     }
///
/// For one thread only. Its sockets belong to that thread's network namespace.
public final class ConnectEngine {
  public struct Options: Sendable {
    /// How long an answer to the SYN, and each later answer, is waited for.
    public var timeout: TimeSpan = .seconds(2)
    /// How long an accepted connection is watched for an early reset or close; zero: not at all.
    public var settle: TimeSpan = .milliseconds(50)
    public var closing = Closing.fin
    /// Source addresses, at most one of each family; the kernel's choice where there is none.
    public var sources: [IPAddress] = []
    /// Whether checks say from which address and port they were made.
    public var tellsSource = true
    public init() {}
  }

  /// How a probe ends its connection.
  public enum Closing: String, Sendable, CaseIterable {
    case fin
    /// A reset: nothing stays in TIME_WAIT here, and the backend's application sees an error.
    case rst
  }

  public enum Started: Hashable, Sendable {
    case started
    /// No slot (0), or no descriptor or port of this host (an errno), is free: try again when
    /// something has finished.
    case noRoom(Int32)
    /// This host cannot connect there at all (errno): not a word about the target.
    case failed(Int32)
  }

  /// A finished check.
  public struct Result {
    public var token: Int
    public var check: PortCheck
    /// When its SYN went out, on CLOCK_MONOTONIC in nanoseconds.
    public var began: Int64
    /// When the connect was answered, or given up.
    public var answered: Int64
    /// What was said, if it was started with a conversation.
    public var conversation: (any Conversation)?
  }

  enum Phase { case free, connecting, settling, talking }

  struct Slot {
    var descriptor: Int32 = -1
    /// Tells an event of this connect from one of its predecessor in the slot.
    var generation: UInt32 = 0
    var phase = Phase.free
    var isRegistered = false
    var token = 0
    var target = Endpoint(address: IPAddress(v4: 0), port: 0)
    var source: Endpoint?
    var began: Int64 = 0
    var answered: Int64 = 0
    var connectTime: Int64?
  }

  public let options: Options
  let epoll: Int32
  let timeout: Int64
  let settle: Int64
  var slots: [Slot]
  var free: [Int32]
  var deadlines: DeadlineLists
  var conversations: [Int32: any Conversation] = [:]
  private var results: [Result] = []
  private var events: [epoll_event]
  let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)

  /// - Parameter inFlight: the most connects at once, 1 to 1,000,000.
  /// - Throws: `ProbeError` when there can be no epoll.
  public init(_ options: Options, inFlight: Int) throws {
    self.options = options
    timeout = max(1_000_000, options.timeout.nanoseconds)
    settle = max(0, options.settle.nanoseconds)
    let count = min(max(1, inFlight), 1_000_000)
    slots = Array(repeating: Slot(), count: count)
    // The last is taken first.
    free = Array((0..<Int32(count)).reversed())
    deadlines = DeadlineLists(slots: count)
    events = Array(repeating: epoll_event(), count: 512)
    epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
    guard epoll >= 0 else {
      buffer.deallocate()
      throw ProbeError(doing: "start the port prober", reason: errorText(errno))
    }
  }

  deinit {
    for slot in slots where slot.phase != .free { Glibc.close(slot.descriptor) }
    Glibc.close(epoll)
    buffer.deallocate()
  }

  /// The most connects at once.
  public var capacity: Int { slots.count }

  /// Connects under way.
  public var pendingCount: Int { slots.count - free.count }

  /// Makes `wait` return when a descriptor is readable.
  public func watch(_ descriptor: Int32) {
    var event = epoll_event(
      events: EPOLLIN.rawValue, data: epoll_data_t(u64: Self.foreign | UInt64(UInt32(descriptor))))
    epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event)
  }

  /// Sends a SYN. What comes of it is a result with this token, at once or later.
  public func start(
    _ target: Endpoint, token: Int, conversation: (any Conversation)? = nil
  ) -> Started {
    guard let index = free.last else { return .noRoom(0) }
    slots[Int(index)].token = token
    slots[Int(index)].target = target
    if let conversation { conversations[index] = conversation }
    let started = connect(index)
    guard case .started = started else {
      if conversation != nil { conversations[index] = nil }
      return started
    }
    return started
  }

  /// Opens the slot's connection; on failure the slot stays as it was.
  func connect(_ index: Int32) -> Started {
    let target = slots[Int(index)].target
    let source = options.sources.isEmpty ? nil : self.source(for: target)
    let began = monotonicNow()
    switch ProbeSocket.connect(to: target, from: source ?? nil) {
    case .failed(let error):
      switch error {
      case EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL, EAGAIN, EADDRINUSE:
        return .noRoom(error)
      default: return .failed(error)
      }
    case .refused(let outcome, let reason):
      take(index, -1, began)
      finish(index, outcome, reason, at: began)
    case .connecting(let descriptor):
      take(index, descriptor, began)
      if options.tellsSource { slots[Int(index)].source = localEndpoint(descriptor) }
      // On this host, or to a near one, all is decided by now; asking costs less than waiting.
      look(index, at: began)
    }
    return .started
  }

  private func source(for target: Endpoint) -> IPAddress {
    options.sources.first { $0.isV4 == target.address.isV4 } ?? options.sources[0]
  }

  private func take(_ index: Int32, _ descriptor: Int32, _ began: Int64) {
    if free.last == index { free.removeLast() }
    slots[Int(index)].descriptor = descriptor
    slots[Int(index)].generation &+= 1
    slots[Int(index)].phase = .connecting
    slots[Int(index)].isRegistered = false
    slots[Int(index)].source = nil
    slots[Int(index)].began = began
    slots[Int(index)].answered = began
    slots[Int(index)].connectTime = nil
  }

  /// Makes epoll watch the slot: for the connect's end first, then for what the other side says.
  func register(_ index: Int32, _ interest: UInt32) {
    let slot = slots[Int(index)]
    let data = UInt64(UInt32(index)) | UInt64(slot.generation & 0x7fff_ffff) << 32
    var event = epoll_event(events: interest, data: epoll_data_t(u64: data))
    let operation = slot.isRegistered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD
    epoll_ctl(epoll, operation, slot.descriptor, &event)
    slots[Int(index)].isRegistered = true
  }

  /// Closes the slot's connection as the options say and tells the result.
  func finish(
    _ index: Int32, _ outcome: PortCheck.Outcome, _ reason: String?, at answered: Int64
  ) {
    let slot = slots[Int(index)]
    deadlines.remove(index)
    slots[Int(index)].phase = .free
    free.append(index)
    var check = PortCheck(
      target: slot.target, outcome: outcome,
      connectTime: slot.connectTime.map { TimeSpan(nanoseconds: $0) }, reason: reason,
      source: slot.source)
    let conversation = conversations.isEmpty ? nil : conversations.removeValue(forKey: index)
    check.speaksTLS = (conversation as? TLSConversation)?.reply?.speaksTLS
    // Told before it is closed: who sees the close must know whose it is.
    results.append(
      Result(
        token: slot.token, check: check, began: slot.began, answered: answered,
        conversation: conversation))
    if slot.descriptor >= 0 { close(slot) }
  }

  private func close(_ slot: Slot) {
    switch options.closing {
    case _ where slot.connectTime == nil: Glibc.close(slot.descriptor)
    case .fin: ProbeSocket.closePolitely(slot.descriptor)
    case .rst: ProbeSocket.closeHard(slot.descriptor)
    }
  }

  /// Closes the connection of a slot that begins again.
  func drop(_ index: Int32) {
    deadlines.remove(index)
    close(slots[Int(index)])
  }

  /// Waits until something finished, a watched descriptor is readable, or the time has come; then
  /// takes care of all that happened.
  /// - Parameter deadline: on CLOCK_MONOTONIC, in nanoseconds; in the past: only looks.
  /// - Returns: the watched descriptors that are readable.
  @discardableResult
  public func wait(until deadline: Int64) -> [Int32] {
    let now = monotonicNow()
    var until = deadline
    if !results.isEmpty { until = now }
    if let next = deadlines.next { until = min(until, next) }
    let length = max(0, until &- now)
    let milliseconds = Int32(clamping: (length + 999_999) / 1_000_000)
    let count = epoll_wait(epoll, &events, Int32(events.count), milliseconds)
    let after = monotonicNow()
    var readable: [Int32] = []
    for position in 0..<max(0, Int(count)) {
      let event = events[position]
      if event.data.u64 & Self.foreign != 0 {
        readable.append(Int32(truncatingIfNeeded: event.data.u64))
        continue
      }
      let index = Int32(truncatingIfNeeded: event.data.u64)
      let generation = UInt32(truncatingIfNeeded: event.data.u64 >> 32)
      let slot = slots[Int(index)]
      guard slot.phase != .free, slot.generation & 0x7fff_ffff == generation else { continue }
      handle(index, at: after)
    }
    while let index = deadlines.takeDue(after) { expire(index, at: after) }
    return readable
  }

  /// What finished since it was last asked.
  public func takeResults() -> [Result] {
    guard !results.isEmpty else { return [] }
    defer { results = [] }
    return results
  }

  private static let foreign: UInt64 = 1 << 63
}

/// CLOCK_MONOTONIC, in nanoseconds.
public func monotonicNow() -> Int64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}

extension ConnectEngine {
  /// Whether this host can connect from an address.
  /// - Returns: the errno why not; nil when it can.
  public static func bindingError(_ address: IPAddress) -> Int32? {
    let type = SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue
    let descriptor = socket(address.isV4 ? AF_INET : AF_INET6, Int32(type), 0)
    guard descriptor >= 0 else { return errno }
    defer { Glibc.close(descriptor) }
    let own = Endpoint(address: address, port: 0)
    return withSocketAddress(own) { bind(descriptor, $0, $1) } == 0 ? nil : errno
  }
}
