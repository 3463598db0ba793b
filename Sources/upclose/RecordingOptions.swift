import ArgumentParser
import CLinux
import CaptureFile
import Evidence
import Glibc
import LinuxHost
import NginxProbe
import Session

/// The options of a command whose session can be recorded, whatever it watches.
struct RecordingOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Record the session to this pcapng file, for replay, report and Wireshark.",
      valueName: "file"))
  var record: String?

  @Option(
    help: ArgumentHelp(
      "Beyond this size (64M, 1G) healthy closes are only counted, and a quarter further the "
        + "recording ends.", valueName: "size"))
  var recordLimit = RecordLimit(bytes: 1 << 30)

  @Option(
    help: ArgumentHelp(
      "Go through so many files of that size (F.pcapng, F.1.pcapng ...); the oldest is "
        + "overwritten.", valueName: "files"))
  var recordRotate: Int?

  func validate() throws {
    if let recordRotate, !(2...100).contains(recordRotate) {
      throw ValidationError("--record-rotate takes 2 to 100 files")
    }
    if recordRotate != nil, record == nil {
      throw ValidationError("--record-rotate needs --record FILE")
    }
  }

  /// Opens the files, while there are privileges to.
  /// - Parameters:
  ///   - nginx: whose configuration is noted.
  ///   - interface: where packets are captured.
  /// - Returns: nil when nothing is to be recorded.
  /// - Throws: `CaptureError` when a file cannot be made.
  func recorder(
    _ nginx: [LoadedNginx], interface: String, _ keepsQueries: Bool
  ) throws -> Recorder? {
    guard let record else { return nil }
    var files = [try RecordingFile(path: record)]
    for number in 1..<(recordRotate ?? 1) {
      files.append(try RecordingFile(path: Self.numbered(record, number)))
    }
    let now = currentTime()
    let info = RecordingInfo(
      session: RecordingInfo.newSession(), recorder: programVersion,
      host: hostName(), started: now,
      arguments: CommandLine.arguments.map { String(escapingControlsIn: $0.utf8) },
      kernel: Self.kernel(), utcOffset: utcOffset(at: now), clock: Self.clock(),
      keepsQueries: keepsQueries, configuration: Self.digests(nginx), limit: recordLimit.bytes)
    return Recorder(files: files, info: info, interface: interface)
  }

  /// `a/b.pcapng` with 2 is `a/b.2.pcapng`.
  private static func numbered(_ path: String, _ number: Int) -> String {
    let name = path[(path.lastIndex(of: "/").map { path.index(after: $0) } ?? path.startIndex)...]
    guard let dot = name.lastIndex(of: "."), dot > name.startIndex else {
      return "\(path).\(number)"
    }
    return path[..<dot] + ".\(number)" + path[dot...]
  }

  private static func digests(_ nginx: [LoadedNginx]) -> [FileDigest] {
    nginx.flatMap { nginx in
      // A container's files are reached by way of its process.
      let root = nginx.found?.root ?? ""
      return nginx.files.prefix(200).compactMap { path -> FileDigest? in
        guard let content = try? readFile(root + path) else { return nil }
        return FileDigest(path: path, content: content)
      }
    }
  }

  private static func kernel() -> String? {
    guard let release = try? readFile("/proc/sys/kernel/osrelease") else { return nil }
    return String(decoding: release, as: UTF8.self).filter { !$0.isNewline }
  }

  /// Whether something disciplines the clock, and how far it may be off.
  private static func clock() -> ClockState? {
    var time = timex()
    let state = adjtimex(&time)
    guard state >= 0 else { return nil }
    return ClockState(
      isSynchronized: state != 5, maximumError: .microseconds(Int64(time.maxerror)))
  }
}

/// A recording's size on the command line: as `SizeArgument`, without its limit of 2 GiB.
struct RecordLimit: ExpressibleByArgument, CustomStringConvertible {
  var bytes: UInt64

  init(bytes: UInt64) { self.bytes = bytes }

  init?(argument: String) {
    let units: [Character: UInt64] = ["K": 10, "M": 20, "G": 30, "T": 40]
    let digits = argument.prefix { $0.isASCII && $0.isNumber }
    guard let number = UInt64(digits), number < 1 << 20 else { return nil }
    let rest = argument.dropFirst(digits.count).uppercased()
    guard ["", "B", "IB"].contains(String(rest.dropFirst())) else { return nil }
    guard let shift = rest.first.flatMap({ units[$0] }) else { return nil }
    bytes = number << shift
    guard bytes >= 64 << 10 else { return nil }
  }

  var description: String {
    for (unit, shift) in [("G", UInt64(30)), ("M", 20)] where bytes % (1 << shift) == 0 {
      return "\(bytes >> shift)\(unit)"
    }
    return "\(bytes >> 10)K"
  }
}
