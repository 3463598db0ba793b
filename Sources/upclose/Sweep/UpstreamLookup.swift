import CLinux
import Evidence
import Glibc
import LinuxHost
import Synchronization

/// Reads nginx's configuration again and again on a thread of its own: names in it are looked up.
final class UpstreamLookup: Sendable {
  let descriptor: Int32
  private let sources: @Sendable () -> [UpstreamOfNginx]
  private let interval: TimeSpan
  private let found = Mutex<[UpstreamOfNginx]?>(nil)
  private let thread = Mutex<ProbeThread?>(nil)

  init(_ sources: SweepSources, interval: TimeSpan) {
    let copy = sources.nginx.isEmpty ? SweepSources() : sources
    self.sources = { copy.upstreams() }
    self.interval = max(interval, .seconds(1))
    descriptor = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
  }

  /// - Throws: `ProbeError` when there can be no thread.
  func start() throws {
    let milliseconds = Int32(clamping: interval.nanoseconds / 1_000_000)
    let started = try ProbeThread.start("upclose-nginx") { [self] thread in
      repeat {
        let now = sources()
        found.withLock { $0 = now }
        var one: UInt64 = 1
        _ = write(descriptor, &one, 8)
      } while thread.sleep(milliseconds: milliseconds)
    }
    thread.withLock { $0 = started }
  }

  /// nil when it has not been read since the last call.
  func take() -> [UpstreamOfNginx]? {
    var value: UInt64 = 0
    _ = read(descriptor, &value, 8)
    return found.withLock { $0.take() }
  }
}
