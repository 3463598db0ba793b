/// How much of the upstreams' traffic is captured.
public enum CaptureMode: String, CaseIterable, Sendable {
  /// SYN, FIN and RST only: who closed and how.
  case light
  /// The headers of every packet: phase, idle time, requests and their delivery too.
  case headers
  /// Headers, and light while the machine cannot afford them (`CaptureBudget`).
  case auto
}

/// The identifier of the blind spot that light capture is.
public let lightCaptureBlindSpot = "light-capture"

/// The identifier of the blind spot while an interface is gone.
public let captureStoppedBlindSpot = "capture-stopped"

/// When headers cost too much, and when they are tried again.
///
/// They are given up when the kernel dropped more than one packet in a thousand within a second, or
/// when the capture thread used more than a given share of one core over five seconds. They are tried
/// again after a minute; and if that fails within a minute, after twice the time, up to an hour, so
/// that it does not flap.
struct CaptureBudget {
  /// Of one core.
  var mostCPU = 0.30
  /// Of the packets of a second.
  var mostDrops = 0.001

  static let window = 5
  static let firstPause: Int64 = 60
  static let longestPause: Int64 = 3600

  /// What was used, since the session began.
  struct Usage {
    /// Seconds on a clock that never goes back.
    var time: Double
    /// Seconds of CPU of the capture thread.
    var cpu: Double
    var seen: UInt64
    var dropped: UInt64
  }

  enum Decision: Equatable {
    /// The reason, in words.
    case goLight(String)
    case goFull
  }

  private(set) var isLight = false
  private var history: [Usage] = []
  private var pause = firstPause
  private var changed: Double?

  /// Once a second: whether to change.
  mutating func judge(_ usage: Usage) -> Decision? {
    defer {
      history.append(usage)
      if history.count > Self.window { history.removeFirst() }
    }
    if isLight {
      guard let since = changed, usage.time - since >= Double(pause) else { return nil }
      isLight = false
      changed = usage.time
      history = []
      return .goFull
    }
    guard let reason = excess(usage) else { return nil }
    // A return that failed soon: the load is still there.
    let failedSoon = changed.map { usage.time - $0 < 60 } ?? false
    pause = failedSoon ? min(pause * 2, Self.longestPause) : Self.firstPause
    isLight = true
    changed = usage.time
    history = []
    return .goLight(reason)
  }

  /// How long it stays light this time, in seconds.
  var pauseSeconds: Int64 { pause }

  private func excess(_ usage: Usage) -> String? {
    if let last = history.last {
      let dropped = usage.dropped &- last.dropped
      let all = usage.seen &- last.seen &+ dropped
      if dropped > 0, Double(dropped) > Double(all) * mostDrops {
        return "the kernel dropped \(dropped) of \(all) packets within a second"
      }
    }
    if let first = history.first, history.count == Self.window, usage.time > first.time {
      let share = (usage.cpu - first.cpu) / (usage.time - first.time)
      if share > mostCPU {
        return "following every packet took \(Int((share * 100).rounded())) % of a core"
      }
    }
    return nil
  }
}
