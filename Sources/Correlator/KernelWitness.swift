import Evidence

/// What the kernel saw processes do: who connected, who closed, who sent a reset and why, who sent a
/// signal. Unlike what is sampled, it misses no connection, however short.
struct KernelWitness {
  /// The tracepoints were read: that nobody is seen to do something says that nobody did.
  private(set) var isWatching = false
  private var byFlow: [Flow: Acts] = [:]
  private var order: [Flow] = []
  private var signals: [(time: TimeEstimate, signal: SignalSent)] = []

  /// The last acts on a flow; a tuple may be reused, so there are some.
  private struct Acts {
    var connects: [Act] = []
    var closes: [Act] = []
    var resets: [(time: Timestamp, reset: ResetSent)] = []
    var deaths: [(time: Timestamp, death: SocketDeath)] = []
  }

  struct Act {
    var time: Timestamp
    var process: ProcessIdentity
    var isExiting: Bool
  }

  /// Flows and signals kept at most; the oldest go first.
  private static let mostFlows = 100_000
  private static let mostSignals = 10_000
  private static let mostActs = 4

  mutating func noteWatched() { isWatching = true }

  mutating func observe(_ act: SocketAct, at time: TimeEstimate) {
    isWatching = true
    guard let flow = act.flow else { return }
    let seen = Act(time: time.best, process: act.process, isExiting: act.isExiting)
    switch (act.act, act.role) {
    case (.connect, .originator): keep(flow) { Self.append(seen, to: &$0.connects) }
    case (.close, .responder): keep(flow) { Self.append(seen, to: &$0.closes) }
    default: break
    }
  }

  mutating func observe(_ reset: ResetSent, at time: TimeEstimate) {
    isWatching = true
    guard let flow = reset.flow, reset.role != .originator else { return }
    keep(flow) { acts in
      Self.append((time.best, reset), to: &acts.resets)
      if let process = reset.process {
        let act = Act(time: time.best, process: process, isExiting: reset.isExiting)
        Self.append(act, to: &acts.closes)
      }
    }
  }

  mutating func observe(_ signal: SignalSent, at time: TimeEstimate) {
    isWatching = true
    signals.append((time, signal))
    if signals.count > Self.mostSignals { signals.removeFirst(Self.mostSignals / 2) }
  }

  mutating func observe(_ death: SocketDeath, at time: TimeEstimate) {
    guard death.role == .responder else { return }
    keep(death.flow) { Self.append((time.best, death), to: &$0.deaths) }
  }

  // MARK: Questions

  /// Who made nginx's end of a flow, last.
  func worker(of flow: Flow) -> ProcessIdentity? { byFlow[flow]?.connects.last?.process }

  /// Who closed the backend's end of a connection; of a reused tuple, the first to do so after this
  /// connection began.
  func closer(of connection: Connection) -> Act? {
    first(of: byFlow[connection.flow]?.closes, in: connection) { $0.time }
  }

  /// The reset that the backend's own kernel sent on a connection.
  func reset(of connection: Connection) -> ResetSent? {
    first(of: byFlow[connection.flow]?.resets, in: connection) { $0.time }?.reset
  }

  /// What the backend's kernel counted on its end of a connection.
  func lastWords(of connection: Connection) -> SocketDeath? {
    first(of: byFlow[connection.flow]?.deaths, in: connection) { $0.time }?.death
  }

  /// The signal that surely ended a process which was just seen to end: SIGKILL, or a fault or an abort
  /// that it brought upon itself. Others may have been handled.
  func endingSignal(of pid: Int32, before time: TimeEstimate) -> Int32? {
    let near = signals.last {
      $0.signal.target.pid == pid && $0.time.earliest <= time.latest
        && time.earliest - $0.time.latest < .seconds(30)
    }
    guard let signal = near?.signal else { return nil }
    if signal.signal == 9 { return 9 }
    let isOwn = signal.sender.map { $0.pid == pid } ?? true
    return isOwn && [4, 6, 7, 8, 11].contains(signal.signal) ? signal.signal : nil
  }

  /// The signal that a process ended by, or upon; the last before its end.
  func signal(before death: Death) -> (signal: SignalSent, time: Timestamp)? {
    let all = signals.filter { sent in
      guard sent.signal.target.pid == death.pid, sent.time.earliest <= death.time.latest else {
        return false
      }
      switch death.how {
      case .signal(let number): return sent.signal.signal == number
      // A process that was asked to end may take its time: systemd grants 90 s.
      case .code, .gone: return death.time.earliest - sent.time.latest < .seconds(100)
      case .oom, .fault: return false
      }
    }
    guard let last = all.last else { return nil }
    // PHP puts off a signal by raising it again to itself (zend_signal): the first sender meant it.
    if last.signal.sender?.pid == death.pid,
      let first = all.first(where: {
        $0.signal.signal == last.signal.signal && $0.signal.sender?.pid != death.pid
          && last.time.best - $0.time.best < .milliseconds(200)
      })
    {
      return (first.signal, first.time.best)
    }
    return (last.signal, last.time.best)
  }

  /// The last signal before a moment that asked a process to end (INT, QUIT, TERM: it may take its time,
  /// ten seconds) or to reload (HUP, USR2: its workers are told at once, three seconds).
  func asked(
    _ pid: Int32, around moment: TimeEstimate
  ) -> (signal: SignalSent, time: Timestamp)? {
    signals.last {
      $0.signal.target.pid == pid && [1, 2, 3, 12, 15].contains($0.signal.signal)
        && $0.time.earliest <= moment.latest + .milliseconds(50)
        && moment.earliest - $0.time.latest
          < .seconds([1, 12].contains($0.signal.signal) ? 3 : 10)
    }.map { ($0.signal, $0.time.best) }
  }

  /// A signal by which somebody told a process to stop, in the time that a graceful stop may take.
  func orderToEnd(of pid: Int32, before time: TimeEstimate) -> SignalSent? {
    signals.last { sent in
      sent.signal.target.pid == pid && [1, 2, 3, 9, 15].contains(sent.signal.signal)
        && sent.signal.sender.map { $0.pid != pid } ?? false
        && sent.time.earliest <= time.latest && time.earliest - sent.time.latest < .seconds(100)
    }?.signal
  }

  private func first<T>(
    of acts: [T]?, in connection: Connection, _ time: (T) -> Timestamp
  ) -> T? {
    let start = connection.firstPacket - .milliseconds(100)
    return acts?.first { time($0) >= start }
  }

  private mutating func keep(_ flow: Flow, _ change: (inout Acts) -> Void) {
    if byFlow[flow] == nil { order.append(flow) }
    change(&byFlow[flow, default: Acts()])
    guard order.count > Self.mostFlows else { return }
    for old in order.prefix(Self.mostFlows / 2) { byFlow[old] = nil }
    order.removeFirst(Self.mostFlows / 2)
  }

  private static func append<T>(_ act: T, to acts: inout [T]) {
    if acts.count >= mostActs { acts.removeFirst() }
    acts.append(act)
  }
}
