import Evidence

/// Lets the failures of a log through one by one as long as they are few, and counts those of a
/// crowd: a log of an outage says the same thing a million times, and neither memory nor anyone who
/// reads the report has room for that.
///
/// Of each kind of failure at each upstream the first 500 come through, and then one for every ten
/// seconds of the log's time, so that all of the time is still seen.
struct FailureSieve {
  /// Failures of one kind at one upstream that come through at once.
  static let burst: Int32 = 500
  /// Seconds after which another one comes through.
  static let pause = 10

  private struct Group {
    var credit = FailureSieve.burst
    /// Up to when credit was given, in the log's own seconds.
    var credited = Int.min
    var counted: UInt64 = 0
    var first = CivilTime()
    var last = CivilTime()
  }

  private static let kinds = NginxMessage.allCases
  /// Groups of one upstream lie side by side; the last upstream is that of lines without one.
  private var names = NameTable()
  private var groups: [Group] = []
  private var nameless = [Group](repeating: Group(), count: kinds.count)
  private var minute = CivilTime()
  private var minuteSeconds = 0

  /// All that were counted and not let through.
  private(set) var counted: UInt64 = 0

  /// Whether to let a failure through.
  /// - Parameters:
  ///   - upstream: the name of the peer; empty when the line has none.
  ///   - isWanted: it comes through in any case.
  mutating func admits(
    _ kind: NginxMessage, _ upstream: UnsafeBufferPointer<UInt8>, at time: CivilTime,
    isWanted: Bool
  ) -> Bool {
    let second = seconds(time)
    var isAdmitted = isWanted
    func pass(_ group: inout Group) {
      if !isAdmitted { isAdmitted = Self.takeCredit(of: &group, at: second) }
      guard !isAdmitted else { return }
      if group.counted == 0 { group.first = time }
      group.last = time
      group.counted += 1
    }
    if !upstream.isEmpty, let number = names.number(of: upstream) {
      let index = number * Self.kinds.count + kind.ordinal
      if index >= groups.count {
        groups.append(contentsOf: repeatElement(Group(), count: Self.kinds.count))
      }
      pass(&groups[index])
    } else {
      pass(&nameless[kind.ordinal])
    }
    if !isAdmitted { counted += 1 }
    return isAdmitted
  }

  private static func takeCredit(of group: inout Group, at second: Int) -> Bool {
    if group.credited == .min { group.credited = second }
    let gained = (second - group.credited) / pause
    if gained > 0 {
      group.credit = Int32(min(Int(group.credit) + gained, Int(burst)))
      group.credited += gained * pause
    }
    guard group.credit > 0 else { return false }
    group.credit -= 1
    return true
  }

  /// Seconds of the log's own time, whose zone does not matter here.
  private mutating func seconds(_ time: CivilTime) -> Int {
    var minute = time
    minute.second = 0
    if minute != self.minute {
      self.minute = minute
      minuteSeconds = Int(minute.utc.nanoseconds / 1_000_000_000)
    }
    return minuteSeconds + time.second
  }

  /// What was counted, to be told once.
  func counts(_ clock: LogClock, path: String) -> [NginxErrorCount] {
    var clock = clock
    var counts: [NginxErrorCount] = []
    func add(_ group: Group, _ kind: NginxMessage, _ upstream: UpstreamPeer?) {
      guard group.counted > 0 else { return }
      let first = clock.moment(group.first)
      counts.append(
        NginxErrorCount(
          message: kind, upstream: upstream, count: group.counted, first: first,
          last: max(first, clock.moment(group.last)), path: path))
    }
    for (index, group) in groups.enumerated() {
      let name = names[index / Self.kinds.count]
      add(
        group, Self.kinds[index % Self.kinds.count],
        UpstreamPeer(String(escapingControlsIn: name)))
    }
    for (index, group) in nameless.enumerated() { add(group, Self.kinds[index], nil) }
    return counts
  }
}

extension NginxMessage {
  /// Its place in `allCases`: an enumeration without associated values is stored as that number.
  var ordinal: Int {
    withUnsafeBytes(of: self) { Int($0[0]) }
  }
}
