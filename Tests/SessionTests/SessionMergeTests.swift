import CaptureFile
import Evidence
import Foundation
import Testing

@testable import Session

struct SessionMergeTests {
  private typealias World = SessionWorld

  @Test func `two hosts become one in the order of time, and the slower decides what is in`() throws
  {
    let world = try World()
    try world.write(
      "web", World.info("a"),
      [
        .observe(World.nginx()), .advance(World.time(1)), .observe(World.note(10, "w10")),
        .advance(World.time(20)), .observe(World.note(30, "w30")), .advance(World.time(40)),
      ])
    try world.write(
      "back", World.info("b", host: "back"),
      [
        .observe(World.note(5, host: "back", "b5")), .advance(World.time(15)),
        .observe(World.note(16, host: "back", "b16")), .advance(World.time(50)),
      ])
    let told = try world.replay("back", "web").filter { !$0.hasPrefix("nginx") }
    #expect(
      told.filter { $0.hasPrefix("kernel") }
        == ["kernel: b5", "kernel: w10", "kernel: w30", "kernel: b16"])
    // Never beyond what both have.
    let marks = told.compactMap { $0.hasPrefix("@") ? Int($0.dropFirst()) : nil }
    #expect(marks == marks.sorted())
    let w30 = try #require(told.firstIndex(of: "kernel: w30"))
    let before = told[..<w30].compactMap { $0.hasPrefix("@") ? Int($0.dropFirst()) : nil }
    #expect((before.last ?? 0) <= 20)
    #expect(told.contains("@50"))
  }

  @Test func `a session that was cut short does not hold up the others`() throws {
    let world = try World()
    try world.write(
      "web", World.info("a"),
      [.observe(World.nginx())] + (1...5).map { .advance(World.time($0 * 10)) })
    try world.write(
      "back", World.info("b", host: "back"), isEnded: false,
      [.observe(World.note(5, host: "back", "b5")), .advance(World.time(12))])
    #expect(try world.replay("web", "back").last == "@50")
  }

  @Test func `sessions that follow one another do not wait for one another`() throws {
    let world = try World()
    try world.write(
      "a", World.info("a"), [.observe(World.nginx())] + (1...3).map { .advance(World.time($0)) })
    let later: Int64 = 86_400_000
    try world.write(
      "b", World.info("b"),
      [.observe(World.nginx())] + (1...3).map { .advance(World.time(later + $0)) })
    let told = try world.replay("a", "b")
    let marks = told.compactMap { $0.hasPrefix("@") ? Int64($0.dropFirst()) : nil }
    #expect(marks.contains { $0 > 2 && $0 < later })
    #expect(marks == marks.sorted())
    #expect(told.last == "@\(later + 3)")
  }

  @Test func `a connection seen on two hosts is one, and inodes of two hosts are two`() throws {
    let world = try World()
    let socket = SocketSighting(
      role: .listener, local: Endpoint(address: IPAddress(v4: 1), port: 80), inode: 7)
    try world.write(
      "web", World.info("a"),
      [
        .observe(World.nginx()),
        .observe(World.observation(10, .connection(World.connection(1, at: 10)))),
        .observe(World.observation(11, .socket(socket))), .advance(World.time(20)),
      ])
    try world.write(
      "back", World.info("b", host: "back"),
      [
        .observe(
          World.observation(10, host: "back", .connection(World.connection(1, at: 10)))),
        .observe(World.observation(11, host: "back", .socket(socket))),
        .observe(
          World.observation(
            12, host: "back", .counters(Counters(source: "packets", seen: 1, lost: 0)))),
        .advance(World.time(20)),
      ])
    let files = try ["web", "back"].flatMap {
      try SessionFile.content(of: world.path($0)).sessions
    }
    let replay = SessionReplay(files)
    var connections: [UInt64] = []
    var inodes: Set<UInt64> = []
    var books: [String] = []
    while let step = replay.next() {
      guard case .observe(let observation) = step else { continue }
      switch observation.fact {
      case .connection(let connection): connections.append(connection.id)
      case .socket(let socket): inodes.insert(socket.inode)
      case .counters(let counters): books.append(counters.source)
      default: break
      }
    }
    #expect(connections == [1])
    #expect(inodes.count == 2)
    #expect(books == ["packets on back"])
  }

  @Test func `without an nginx the backend's own capture tells`() throws {
    let world = try World()
    try world.write(
      "back", World.info("b", host: "back"),
      [.observe(World.observation(10, .connection(World.connection(1, at: 10))))])
    #expect(try world.replay("back").count == 1)
  }

  @Test func `what two sessions of one host saw is told once, and a copy of a file adds nothing`()
    throws
  {
    let world = try World()
    for (name, shift) in [("a", Int64(0)), ("b", 1)] {
      try world.write(
        name, World.info(name),
        [
          .observe(World.nginx()), .observe(World.note(10 + shift, "oom")),
          .observe(World.note(5000 + shift, "only \(name)")), .advance(World.time(6000)),
        ])
    }
    let told = try world.replay("a", "b").filter { $0.hasPrefix("kernel") }
    #expect(told == ["kernel: oom", "kernel: only a", "kernel: only b"])
    #expect(try world.replay("a", "a") == world.replay("a"))
  }

  @Test func `a cut copy and a whole one are the whole one`() throws {
    let world = try World()
    let steps = (0..<6).map { SessionReplay.Step.observe(World.note($0, "note \($0)")) }
    try world.write("whole", World.info("a"), steps)
    let bytes = try Data(contentsOf: URL(fileURLWithPath: world.path("whole")))
    try bytes.prefix(bytes.count * 2 / 3).write(to: URL(fileURLWithPath: world.path("cut")))
    #expect(try world.replay("cut", "whole") == world.replay("whole"))
  }

  @Test func `a file that another program sorted by time is played in its own order`() throws {
    let world = try World()
    let steps = [30, 10, 20].map { SessionReplay.Step.observe(World.note($0, "note \($0)")) }
    try world.write("a", World.info("a"), steps)
    // The blocks after the section's header, the other way round.
    let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: world.path("a"))))
    var blocks: [[UInt8]] = []
    var position = 0
    while position < bytes.count {
      let length = bytes[position + 4..<position + 8].reversed().reduce(0) { $0 << 8 | Int($1) }
      blocks.append(Array(bytes[position..<position + length]))
      position += length
    }
    let turned = blocks[0] + blocks.dropFirst().reversed().joined()
    try Data(turned).write(to: URL(fileURLWithPath: world.path("b")))
    #expect(try world.replay("b") == world.replay("a"))
  }
}
