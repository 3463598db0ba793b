import Foundation
import Testing

/// The built program, run as its user would.
struct Program {
  static let directory: String = {
    let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    return (own as NSString).deletingLastPathComponent
  }()

  static var upclose: String { directory + "/upclose" }
  static var backend: String { directory + "/lab-backend" }

  struct Outcome {
    var status: Int32
    var out: String
    var err: String
  }

  /// The tracing instances that a process made, or had made when it was killed.
  static func tracingInstances(of pid: Int32) -> [String] {
    let list = try? run(
      "/usr/bin/unshare",
      ["-m", "sh", "-c", "mount -t tracefs tracefs /mnt && ls /mnt/instances"])
    return (list?.out ?? "").split(separator: "\n").map(String.init)
      .filter { $0.hasPrefix("upclose-\(pid)-") }
  }

  static func wait(_ what: String, until condition: () -> Bool) throws {
    let deadline = Date().addingTimeInterval(120)
    while !condition() {
      guard Date() < deadline else { throw Failure(description: "waited in vain until \(what)") }
      usleep(50_000)
    }
  }

  struct Failure: Error, CustomStringConvertible { var description: String }

  /// Runs a program to its end; stdin is empty.
  static func run(_ path: String, _ arguments: [String]) throws -> Outcome {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    let (out, err) = (Pipe(), Pipe())
    process.standardOutput = out
    process.standardError = err
    process.standardInput = FileHandle.nullDevice
    try process.run()
    // Both pipes are drained at once, or a full one would block the program.
    let errors = Mailbox()
    let reader = Thread { errors.put(err.fileHandleForReading.readDataToEndOfFile()) }
    reader.start()
    let data = out.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return Outcome(
      status: process.terminationStatus, out: String(decoding: data, as: UTF8.self),
      err: String(decoding: errors.take(), as: UTF8.self))
  }

  static func upclose(_ arguments: String...) throws -> Outcome { try run(upclose, arguments) }

  private final class Mailbox: @unchecked Sendable {
    private let lock = NSCondition()
    private var data: Data?
    func put(_ value: Data) {
      lock.withLock {
        data = value
        lock.signal()
      }
    }
    func take() -> Data {
      lock.lock()
      defer { lock.unlock() }
      while data == nil { lock.wait() }
      return data ?? Data()
    }
  }
}

/// A directory that any user may read, removed at the end.
final class Scratch {
  let path: String

  init() throws {
    path = NSTemporaryDirectory() + "/upclose-test-\(UUID().uuidString)"
    try FileManager.default.createDirectory(
      atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func write(_ name: String, _ bytes: some Sequence<UInt8>) throws -> String {
    let file = path + "/" + name
    try Data(bytes).write(to: URL(fileURLWithPath: file))
    return file
  }
}
