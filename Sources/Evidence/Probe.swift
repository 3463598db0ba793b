/// Takes observations from a probe, on the probe's own thread; it must be quick and must not block.
public typealias ObservationSink = @Sendable (Observation) -> Void

/// What looks at the host.
///
/// A probe is opened with privileges and without threads, started after privileges were dropped, and
/// stopped at the end; `stop` returns when its thread has ended and everything that it made on the
/// host is gone.
public protocol Probe: AnyObject, Sendable {
  /// As in `probe "packets" …`.
  var name: String { get }

  /// Opens its sources.
  /// - Throws: `ProbeError` when it cannot do its work here.
  func open() throws

  /// Starts its thread.
  func start(_ sink: @escaping ObservationSink) throws

  /// Ends its thread. Safe to call twice, or without a start.
  func stop()
}

/// Why a probe cannot work: what it was doing, what went wrong, and the way out.
public struct ProbeError: Error, Hashable, Sendable, CustomStringConvertible {
  /// As `open /dev/kmsg`.
  public var doing: String
  /// As `Operation not permitted`.
  public var reason: String
  /// What the user can do; nil when nothing.
  public var remedy: String?

  public init(doing: String, reason: String, remedy: String? = nil) {
    self.doing = doing
    self.reason = reason
    self.remedy = remedy
  }

  public var description: String {
    "cannot \(doing): \(reason)" + (remedy.map { "; \($0)" } ?? "")
  }
}
