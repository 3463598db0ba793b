public import Evidence

/// Who and what recorded a session: the first entry of each of its files.
public struct RecordingInfo: Hashable, Codable, Sendable {
  /// Of this description and of the entries; a reader refuses a higher one.
  public var format = RecordingInfo.currentFormat
  /// Tells sessions apart, also in a file into which several were merged.
  public var session: String
  /// As `upclose 0.1.0`.
  public var recorder: String
  public var host: String
  public var started: Timestamp
  /// The command line.
  public var arguments: [String]
  /// The kernel's release and machine, as `6.18.44 x86_64`.
  public var kernel: String?
  /// Seconds east of UTC of the host's local time.
  public var utcOffset: Int
  public var clock: ClockState?
  /// Whether query strings were kept, as asked.
  public var keepsQueries: Bool
  /// nginx's configuration as it was on disk.
  public var configuration: [FileDigest]
  /// Bytes after which healthy closes are only counted, or the next file begins.
  public var limit: UInt64
  /// Which file of the session it is, from 1: with rotation there are several.
  public var part = 1

  public static let currentFormat = 1

  public init(
    session: String, recorder: String, host: String, started: Timestamp, arguments: [String] = [],
    kernel: String? = nil, utcOffset: Int = 0, clock: ClockState? = nil, keepsQueries: Bool = false,
    configuration: [FileDigest] = [], limit: UInt64 = 1 << 30
  ) {
    self.session = session
    self.recorder = recorder
    self.host = host
    self.started = started
    self.arguments = arguments
    self.kernel = kernel
    self.utcOffset = utcOffset
    self.clock = clock
    self.keepsQueries = keepsQueries
    self.configuration = configuration
    self.limit = limit
  }

  /// A new session's name: 16 hexadecimal digits.
  public static func newSession() -> String {
    let digits = String(UInt64.random(in: .min ... .max), radix: 16)
    return String(repeating: "0", count: 16 - digits.utf8.count) + digits
  }
}

/// What the kernel says of its clock (`adjtimex`): who compares two hosts' times must know.
public struct ClockState: Hashable, Codable, Sendable {
  /// Whether something disciplines it.
  public var isSynchronized: Bool
  /// At most so far from the truth, as far as the kernel knows.
  public var maximumError: TimeSpan

  public init(isSynchronized: Bool, maximumError: TimeSpan) {
    self.isSynchronized = isSynchronized
    self.maximumError = maximumError
  }
}

/// A file's SHA-256, as `sha256sum` prints it.
public struct FileDigest: Hashable, Codable, Sendable {
  public var path: String
  public var sha256: String

  public init(path: String, content: some Sequence<UInt8>) {
    self.path = path
    sha256 = SHA256.digest(content)
  }
}

/// How a recording stands: told now and then, and at its end.
public struct RecordingProgress: Hashable, Codable, Sendable {
  /// Observations that were given to be recorded, and those that were lost because the disk was slow.
  public var observations: UInt64 = 0
  public var lostObservations: UInt64 = 0
  public var packets: UInt64 = 0
  public var lostPackets: UInt64 = 0
  /// Healthy closes that were only counted, past the limit.
  public var countedCloses: UInt64 = 0

  public init() {}

  /// Nothing that a replay needs is missing.
  public var isWhole: Bool { lostObservations == 0 && countedCloses == 0 }
}
