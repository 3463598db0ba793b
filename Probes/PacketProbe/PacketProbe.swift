import CPcap
import CaptureFile
public import Evidence
import Glibc
import LinuxHost
import Synchronization

/// Captures the upstreams' traffic and tells how each connection ended, as soon as that is known.
///
/// One thread captures and follows the connections. While packets come it drains the ring every few
/// milliseconds instead of waking for each one; when there are none it sleeps until one comes. A
/// connection is told 50 ms after its final close, or 200 ms after its first FIN when the other side
/// is silent, and again with the same `id` when later packets change it. Once a second, its books.
public final class PacketProbe: Probe {
  public let name = "packets"

  public struct Settings: Sendable {
    /// An interface; `any` for all of them, with copies on bridges and their ports counted once.
    public var device = "any"
    /// How much is captured.
    public var mode = CaptureMode.headers
    /// Bytes of each packet: enough for options and a request line.
    public var snapLength: Int32 = 256
    /// The kernel's ring in bytes: at 256 bytes a packet, 16 MiB hold some 40,000.
    public var bufferSize: Int32 = 16 << 20
    /// How connections are followed.
    public var tracking = TrackerOptions.attached
    /// Bytes for the latest packets' headers, of which incidents get their last; 160 hold one.
    public var ringSize = 16 << 20
    /// Gets the headers of every SYN, FIN and RST.
    public var headerSink: (any HeaderSink)?

    public init() {}
  }

  /// The last packets of connections whose close an error may be about.
  public let trails = TrailStore()
  private let host: String
  private let settings: Settings
  private let state: Mutex<State>

  private struct State {
    var upstreams: UpstreamFilter?
    /// Set when `upstreams` is newer than the kernel's filter.
    var isStale = false
    var session: CaptureSession?
    var thread: ProbeThread?
  }

  /// - Parameters:
  ///   - host: the name that every observation carries.
  ///   - upstreams: what to watch; nil for all TCP.
  public init(host: String, upstreams: UpstreamFilter?, settings: Settings = Settings()) {
    self.host = host
    self.settings = settings
    state = Mutex(State(upstreams: upstreams))
  }

  public func open() throws {
    let upstreams = state.withLock { $0.upstreams }
    let session = try CaptureSession(
      LiveCapture.Settings(
        device: settings.device, snapLength: settings.snapLength, bufferSize: settings.bufferSize),
      upstreams: upstreams, isLight: settings.mode == .light)
    state.withLock { $0.session = session }
  }

  /// Watches other upstreams from now on, as after a reload. Connections that are already followed
  /// stay known, and get no more packets when their upstream is no longer among them.
  public func watch(_ upstreams: UpstreamFilter?) {
    state.withLock { state in
      state.upstreams = upstreams
      state.isStale = true
    }
  }

  public func start(_ sink: @escaping ObservationSink) throws {
    guard let session = state.withLock({ $0.session }) else {
      throw ProbeError(doing: "start capture", reason: "it was not opened")
    }
    var tracking = settings.tracking
    tracking.upstreams = session.upstreams
    let host = host
    let keeper = HeaderKeeper(bytes: settings.ringSize, store: trails, sink: settings.headerSink)
    let loop = CaptureLoop(
      session: session, mode: settings.mode, options: tracking, keeper: keeper, host: host,
      sink: sink)
    let thread = try ProbeThread.start("packets") { [weak self] thread in
      loop.run(thread) { self?.takeNewUpstreams() }
    }
    state.withLock { $0.thread = thread }
  }

  public func stop() {
    let thread = state.withLock { state in
      defer {
        state.thread = nil
        state.session = nil
      }
      return state.thread
    }
    thread?.stop()
  }

  /// The new upstreams, once; nil when they did not change.
  private func takeNewUpstreams() -> UpstreamChange? {
    state.withLock { state in
      guard state.isStale else { return nil }
      state.isStale = false
      return UpstreamChange(upstreams: state.upstreams)
    }
  }
}

/// Tells "all TCP" from "no change".
struct UpstreamChange { var upstreams: UpstreamFilter? }

/// An open capture. It is made in one thread and used in another, never in both at once.
final class CaptureSession: @unchecked Sendable {
  let settings: LiveCapture.Settings
  private(set) var capture: LiveCapture
  private(set) var upstreams: UpstreamFilter?
  private(set) var isLight: Bool

  init(
    _ settings: LiveCapture.Settings, upstreams: UpstreamFilter?, isLight: Bool
  ) throws(ProbeError) {
    self.settings = settings
    self.upstreams = upstreams
    self.isLight = isLight
    capture = try LiveCapture.open(settings) {
      CaptureFilter.expression(upstreams, isLight: isLight, isCooked: $0)
    }
  }

  func watch(_ upstreams: UpstreamFilter?) throws(ProbeError) {
    self.upstreams = upstreams
    try capture.replaceFilter(filter(isCooked: capture.isCooked))
  }

  func setLight(_ isLight: Bool) throws(ProbeError) {
    self.isLight = isLight
    try capture.replaceFilter(filter(isCooked: capture.isCooked))
  }

  func reopen() throws(ProbeError) {
    capture = try LiveCapture.open(settings) { filter(isCooked: $0) }
  }

  private func filter(isCooked: Bool) -> String {
    CaptureFilter.expression(upstreams, isLight: isLight, isCooked: isCooked)
  }
}
