import Foundation
import LabWorld
import Testing

/// Recording a live session and playing it back, as root, in namespaces of the tests' own.
@Suite(.enabled(if: getuid() == 0), .serialized) struct RecordTests {
  @Test func `a whole session says the same live and replayed, byte for byte`() throws {
    let world = try LabWorld.build(backendExecutable: Program.backend, name: "upclose.test.record")
    defer { world.tearDown() }
    let scratch = try Scratch()
    let file = scratch.path + "/session.pcapng"
    let session = try Session(in: world, ["--record", file])
    try session.waitUntilWatching()
    try world.startLoad()
    for (number, path) in ["a/fault/close", "b/fault/linger", "a/fault/segv", "b/fault/close"]
      .enumerated()
    {
      _ = try session.inNamespace([
        "curl", "-s", "-o", "/dev/null", "-X", "POST",
        "http://\(world.frontend)/\(path)/\(number)?secret=hidden-\(number)",
      ])
    }
    try session.waitForIncidents(4)
    #expect(try session.end().status == 1)
    let live = try session.incidentText()
    let replay = try Program.upclose("replay", file, "--format", "ndjson")
    #expect(replay.status == 1)
    #expect(replay.err.isEmpty)
    #expect(replay.out == live)
    let report = try Program.upclose("report", file, "--format", "ndjson")
    #expect(report.out == live)
    // No query string, in whatever block.
    let bytes = try Data(contentsOf: URL(fileURLWithPath: file))
    #expect(bytes.range(of: Data("hidden-".utf8)) == nil)
    let attributes = try FileManager.default.attributesOfItem(atPath: file)
    #expect(attributes[.posixPermissions] as? Int == 0o600)
    try checkForWireshark(file, scratch)
  }

  /// What Wireshark's own tools say of a session and of its incidents.
  private func checkForWireshark(_ file: String, _ scratch: Scratch) throws {
    let incidents = scratch.path + "/incidents.pcapng"
    let written = try Program.upclose(
      "report", file, "--format", "pcapng", "--output", incidents)
    #expect(written.status == 1)
    #expect(written.err.isEmpty)
    let order = try Program.run("/usr/bin/capinfos", ["-o", incidents])
    #expect(order.out.contains("True"))
    let comments = try Program.run(
      "/usr/bin/tshark", ["-r", incidents, "-Y", "tcp", "-T", "fields", "-e", "frame.comment"])
    #expect(Self.complaints(comments).isEmpty)
    let lines = comments.out.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
    #expect(lines.count >= 12)
    #expect(lines.allSatisfy { !$0.isEmpty })
    for cause in ["closed-without-response", "crash"] {
      #expect(lines.contains { $0.contains(cause) && $0.contains(" | +") })
    }
    // Not a byte of payload in any file.
    for path in [file, incidents] {
      let payload = try Program.run(
        "/usr/bin/tshark", ["-r", path, "-Y", "tcp.payload", "-T", "fields", "-e", "tcp.payload"])
      #expect(payload.out.isEmpty)
    }
    let journal = try Program.run(
      "/usr/bin/tshark",
      ["-r", incidents, "-Y", "systemd_journal", "-T", "fields", "-e", "systemd_journal.message"])
    #expect(journal.out.contains("upstream prematurely closed connection"))
    #expect(journal.out.contains("signal 11") || journal.out.contains("segfault"))
    let merged = scratch.path + "/merged.pcapng"
    let merge = try Program.run("/usr/bin/mergecap", ["-w", merged, file, incidents])
    #expect(merge.status == 0)
    #expect(merge.err.isEmpty)
    let both = try Program.run("/usr/bin/tshark", ["-r", merged])
    #expect(Self.complaints(both).isEmpty)
    // What others merged still replays.
    let replay = try Program.upclose("replay", merged, "--format", "ndjson")
    #expect(try replay.out == Program.upclose("replay", file, "--format", "ndjson").out)
  }

  private static func complaints(_ outcome: Program.Outcome) -> [Substring] {
    outcome.err.split(separator: "\n").filter { !$0.hasPrefix("Running as user") }
  }

  @Test func `after a kill -9 the file replays up to its last second`() throws {
    let world = try LabWorld.build(backendExecutable: Program.backend, name: "upclose.test.record9")
    defer { world.tearDown() }
    let scratch = try Scratch()
    let file = scratch.path + "/session.pcapng"
    let session = try Session(in: world, ["--record", file])
    try session.waitUntilWatching()
    try world.startLoad()
    for number in 0..<3 {
      _ = try session.inNamespace([
        "curl", "-s", "-o", "/dev/null", "-X", "POST",
        "http://\(world.frontend)/a/fault/close/\(number)",
      ])
    }
    try session.waitForIncidents(3)
    let known = session.lines.count
    // The writer's pause is a quarter of a second; the machine may be slow.
    usleep(2_000_000)
    try session.kill()
    let replay = try Program.upclose("replay", file, "--format", "json")
    #expect(replay.status == 1)
    let document = try #require(
      try JSONSerialization.jsonObject(with: Data(replay.out.utf8)) as? [String: Any])
    let incidents = try #require(document["incidents"] as? [[String: Any]])
    #expect(incidents.count >= known)
    let spots = try #require(document["blind_spots"] as? [[String: Any]])
    #expect(spots.contains { $0["id"] as? String == "recording-cut" })
    // Cut within a block, as a power cut would leave it.
    var bytes = try Data(contentsOf: URL(fileURLWithPath: file))
    bytes.removeLast(7)
    let cut = try scratch.write("cut.pcapng", bytes)
    let again = try Program.upclose("replay", cut, "--format", "ndjson")
    #expect(again.status == 1)
    #expect(again.err.isEmpty)
  }

  @Test func `a full disk stops the recording and not the session`() throws {
    let world = try LabWorld.build(backendExecutable: Program.backend, name: "upclose.test.full")
    defer { world.tearDown() }
    let scratch = try Scratch()
    let disk = scratch.path + "/disk"
    try FileManager.default.createDirectory(atPath: disk, withIntermediateDirectories: true)
    let mounted = try Program.run("/bin/mount", ["-t", "tmpfs", "-o", "size=128k", "tmpfs", disk])
    try #require(mounted.status == 0)
    defer { _ = try? Program.run("/bin/umount", ["-l", disk]) }
    let file = disk + "/session.pcapng"
    let session = try Session(in: world, ["--record", file])
    try session.waitUntilWatching()
    try world.startLoad()
    try session.wait("the disk is full") { session.errors.contains("recording stopped") }
    #expect(session.errors.contains("No space left on device"))
    _ = try session.inNamespace([
      "curl", "-s", "-o", "/dev/null", "-X", "POST", "http://\(world.frontend)/a/fault/close/full",
    ])
    try session.waitForIncidents(1)
    let outcome = try session.end()
    #expect(outcome.status == 1)
    #expect(outcome.out.contains("the recording stopped"))
    let replay = try Program.upclose("replay", file)
    #expect(replay.err.isEmpty)
    #expect(replay.status != 2)
    let tshark = try Program.run("/usr/bin/tshark", ["-r", file])
    #expect(tshark.status == 0)
  }
}
