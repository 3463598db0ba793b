public import Evidence
import Glibc
import LinuxHost

/// A kernel log that was saved as a file: `dmesg` (also `-T`, `-x`, `-r`, `--json`,
/// `--time-format iso`), a copy of `/dev/kmsg`, `journalctl -k` (`-o short`, `short-precise`,
/// `short-iso`, `short-monotonic`, `json`) or syslog's kern.log. Each is recognised by its form.
public struct KernelLogFile: Sendable {
  public var path: String
  /// Named in the observations, where the log itself names none.
  public var host: String
  /// When the host was booted: without it, plain `dmesg` says nothing about the time of day.
  public var bootTime: Timestamp?
  /// A moment soon after the log's last line, which tells the year that `short` and kern.log leave
  /// out; nil: the file's time of modification.
  public var reference: Timestamp?
  /// Seconds east of UTC of the clock in lines that do not say.
  public var utcOffset: Int

  public init(
    path: String, host: String, bootTime: Timestamp? = nil, reference: Timestamp? = nil,
    utcOffset: Int = 0
  ) {
    self.path = path
    self.host = host
    self.bootTime = bootTime
    self.reference = reference
    self.utcOffset = utcOffset
  }

  /// An event and, where the log tells it, its time.
  public struct Entry: Hashable, Sendable {
    public var event: KernelEvent
    public var time: TimeEstimate?
    public var host: String
  }

  /// What a file held.
  public struct Content: Hashable, Sendable {
    public var entries: [Entry] = []
    public var lines: UInt64 = 0
    /// Lines in no form that is known.
    public var linesNotParsed: UInt64 = 0
    /// Where and why reading stopped before the end; `entries` holds what came before.
    public var error: ProbeError?
    /// The host whose counters and blind spots these are.
    var host = ""
    var path = ""

    /// The entries whose time is known, the books, and what is missing, as the correlator takes
    /// them.
    /// - Parameter time: given to the books and the blind spots.
    public func observations(at time: Timestamp) -> [Observation] {
      var result = entries.compactMap { entry in
        entry.time.map { Observation(host: entry.host, time: $0, fact: .kernel(entry.event)) }
      }
      var facts: [Observation.Fact] = []
      let timeless = entries.count { $0.time == nil }
      if timeless > 0 {
        facts.append(
          .blindSpot(
            BlindSpot(
              id: "kernel-log-time",
              what: "\(timeless) events of \(path) carry no time of day",
              cost: "out-of-memory kills and crashes in it cannot be joined to closes",
              remedy: "say when the host was booted, or save the log with `journalctl -k -o json`"))
        )
      }
      if let error {
        facts.append(
          .blindSpot(
            BlindSpot(
              id: "kernel-log-cut", what: error.description,
              cost: "an out-of-memory kill or a crash behind it is not known")))
      }
      let counters = Counters(
        source: "kernel", seen: lines, lost: 0,
        details: ["events": UInt64(entries.count), "not parsed": linesNotParsed])
      facts.append(.counters(counters))
      result += facts.map {
        Observation(host: host, time: TimeEstimate(exactly: time), fact: $0)
      }
      return result
    }
  }

  /// - Throws: `ProbeError` when the file cannot be opened. What goes wrong later is in `error` of
  ///   the result, with path and offset.
  public func read() throws -> Content {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw ProbeError(doing: "open \(path)", reason: errorText(errno))
    }
    defer { close(descriptor) }
    var status = stat()
    var modified: Timestamp?
    if fstat(descriptor, &status) == 0 {
      modified = Timestamp(
        seconds: Int64(status.st_mtim.tv_sec), nanoseconds: Int64(status.st_mtim.tv_nsec))
    }
    var reader = Reader(
      file: self,
      context: KernelLogLine.Context(utcOffset: utcOffset, reference: reference ?? modified))
    reader.content.host = host
    reader.content.path = path
    reader.read(descriptor)
    return reader.content
  }

  /// The error at one offset of the file.
  func failure(at offset: Int, _ reason: String) -> ProbeError {
    ProbeError(doing: "read \(path) at byte \(offset)", reason: reason)
  }
}
