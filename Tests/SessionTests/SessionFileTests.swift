import CaptureFile
import Evidence
import Foundation
import Testing

@testable import Session

struct SessionFileTests {
  private typealias World = SessionWorld

  @Test func `a session is played as it was recorded`() throws {
    let world = try World()
    try world.write(
      "a", World.info("a"),
      [
        .observe(World.note(5, "late")), .observe(World.note(1, "early")), .advance(World.time(2)),
        .advance(World.time(3)), .observe(World.note(4, "last")),
      ])
    #expect(try world.replay("a") == ["kernel: late", "kernel: early", "@2", "@3", "kernel: last"])
    let file = try #require(try SessionFile.content(of: world.path("a")).sessions.first)
    #expect(file.isEnded)
    #expect(file.host == "web1")
    #expect(file.info?.recorder == "upclose test")
    #expect(file.progress?.observations == 3)
    #expect(SessionReplay.blindSpots(of: [file]).isEmpty)
  }

  @Test func `a file cut anywhere plays what is whole of it`() throws {
    let world = try World()
    let steps = (0..<6).map { SessionReplay.Step.observe(World.note($0, "note \($0)")) }
    try world.write("whole", World.info("a"), steps)
    let bytes = try Data(contentsOf: URL(fileURLWithPath: world.path("whole")))
    let whole = try world.replay("whole")
    var counts: Set<Int> = []
    for length in stride(from: 1, to: bytes.count, by: 7) {
      try bytes.prefix(length).write(to: URL(fileURLWithPath: world.path("cut")))
      guard let content = try? SessionFile.content(of: world.path("cut")) else { continue }
      #expect(content.error?.isCutShort ?? true)
      guard !content.sessions.isEmpty else { continue }
      #expect(!content.sessions[0].isEnded)
      #expect(SessionReplay.blindSpots(of: content.sessions).map(\.id) == ["recording-cut"])
      let told = try world.replay("cut")
      #expect(whole.starts(with: told))
      counts.insert(told.count)
    }
    #expect(counts == Set(0...6))
  }

  @Test func `an observation longer than an entry comes in parts`() throws {
    let world = try World()
    let text = String(repeating: "é\u{1f600}", count: 120_000)
    try world.write("long", World.info("a"), [.observe(World.note(1, text))])
    #expect(try world.replay("long") == ["kernel: \(text)"])
  }

  @Test func `a plain capture is no session`() throws {
    let world = try World()
    var file: [UInt8] = []
    PcapngBlock.appendSection(application: "other", to: &file)
    PcapngBlock.appendJournal("__REALTIME_TIMESTAMP=1\nMESSAGE=x\n".utf8, to: &file)
    try Data(file).write(to: URL(fileURLWithPath: world.path("plain")))
    #expect(try SessionFile.content(of: world.path("plain")).sessions.isEmpty)
    try Data(PcapWriter.header(linkType: .ethernet))
      .write(to: URL(fileURLWithPath: world.path("pcap")))
    #expect(try SessionFile.content(of: world.path("pcap")).sessions.isEmpty)
    try Data("no capture at all".utf8).write(to: URL(fileURLWithPath: world.path("text")))
    #expect(try SessionFile.content(of: world.path("text")).sessions.isEmpty)
  }

  @Test func `entries that are not understood are counted and passed over`() throws {
    let world = try World()
    try world.write(
      "a", World.info("a"), [.observe(World.note(1, "one")), .observe(World.note(2, "two"))])
    var bytes = try Data(contentsOf: URL(fileURLWithPath: world.path("a")))
    let name = try #require(bytes.range(of: Data(#""fact":{"kernel":"#.utf8)))
    bytes.replaceSubrange(name, with: Data(#""fact":{"kernek":"#.utf8))
    try bytes.write(to: URL(fileURLWithPath: world.path("b")))
    let replay = SessionReplay(try SessionFile.content(of: world.path("b")).sessions)
    var count = 0
    while replay.next() != nil { count += 1 }
    #expect(count == 1)
    #expect(replay.playedBlindSpots.map(\.id) == ["recording-missing", "recording-unknown"])
  }

  @Test func `past the limit healthy closes are counted, and then the recording ends`() throws {
    let world = try World()
    let writer = SessionWriter(
      files: [try RecordingFile(path: world.path("a"))],
      info: World.info("a", limit: 100_000), interface: "any")
    var failing = World.connection(1, at: 1)
    failing.responderReset = Reset(time: World.time(1), manner: .activeReset)
    var id: UInt64 = 0
    while writer.failure == nil, id < 100_000 {
      id += 1
      let time = World.time(Int64(id))
      writer.add(
        .observation(
          World.observation(Int64(id), .connection(World.connection(id, at: Int64(id))))),
        at: time)
      if id % 10 == 0 {
        failing.id = id
        writer.add(.observation(World.observation(Int64(id), .connection(failing))), at: time)
        writer.add(.advance([time]), at: time)
        writer.flush()
      }
    }
    #expect(writer.isSaving)
    #expect(writer.progress.countedCloses > 0)
    let size = try #require(
      try FileManager.default.attributesOfItem(atPath: world.path("a"))[.size] as? Int)
    #expect(size < 100_000 + 300_000)
    let told = try world.replay("a")
    #expect(told.contains { $0.contains("reached its limit") })
    #expect(told.contains { $0.contains("ordinary closes") })
    let counted = told.filter { $0.contains("10.0.0.2:8080: ordinary closes: 10 by the backend") }
    #expect(!counted.isEmpty)
  }

  @Test func `rotated files replay together, and the last ones alone`() throws {
    let world = try World()
    let files = try (0..<3).map { try RecordingFile(path: world.path("r\($0)")) }
    let writer = SessionWriter(
      files: files, info: World.info("a", limit: 70_000), interface: "any")
    writer.add(.observation(World.nginx()), at: World.time(0))
    var number: Int64 = 0
    // Into the third file, and no further.
    while (try? SessionFile.content(of: world.path("r2"))) == nil {
      number += 1
      writer.add(
        .observation(World.note(number, "note \(number) \(String(repeating: "x", count: 300))")),
        at: World.time(number))
      writer.flush()
      if number > 10_000 { break }
    }
    writer.finish(at: World.time(number))
    let all = try world.replay("r0", "r1", "r2")
    #expect(all.count == Int(number) + 1)
    #expect(all.filter { $0.hasPrefix("nginx ") }.count == 1)
    let last = try world.replay("r2", "r1")
    #expect(last.filter { $0.hasPrefix("nginx ") }.count == 1)
    #expect(all.dropFirst(all.count - last.count + 1) == last.dropFirst())
    let parts = try ["r0", "r1", "r2"].map {
      try SessionFile.content(of: world.path($0)).sessions[0].info?.part
    }
    #expect(parts == [1, 2, 3])
  }

  @Test func `a disk that is full from the start fails with its reason`() throws {
    let writer = SessionWriter(
      files: [try RecordingFile(path: "/dev/full")], info: SessionWorld.info("a"),
      interface: "any")
    writer.flush()
    #expect(writer.failure == "/dev/full: No space left on device")
    #expect(throws: CaptureError.self) { try RecordingFile(path: "/nonexistent/x") }
  }
}
