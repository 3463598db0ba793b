import CaptureFile
import Glibc
import Testing

struct PcapngBlockTests {
  @Test func `what is written is read again: packets, journal entries, interfaces`() throws {
    var file: [UInt8] = []
    PcapngBlock.appendSection(application: "upclose test", comment: "odd", to: &file)
    PcapngBlock.appendInterface(
      linkType: .linuxSLL2, name: "any", description: "any on web1", to: &file)
    let times: [Int64] = [0, 1, 1_700_000_000_123_456_789]
    for (index, time) in times.enumerated() {
      [UInt8](repeating: 7, count: index).withUnsafeBytes { bytes in
        PcapngBlock.appendPacket(
          interface: 0, time: time, originalLength: 1500, bytes: bytes,
          comments: index == 1 ? [] : ["first", "second é"], to: &file)
      }
      PcapngBlock.appendJournal("MESSAGE=\(time)\n".utf8, to: &file)
    }
    let (packets, error) = try read(file)
    #expect(error == nil)
    #expect(packets.map(\.time) == times)
    #expect(packets.map(\.bytes) == [[], [7], [7, 7]])
    #expect(packets.allSatisfy { $0.original == 1500 && $0.linkType == 276 })
    var reader = try CaptureReader(path: try file.written())
    var journal: [String] = []
    var interfaces: [CapturedInterface] = []
    // A block at a time: it goes on where it was left.
    var wantsMore = true
    while wantsMore {
      wantsMore = false
      try reader.readItems { item in
        wantsMore = true
        switch item {
        case .journal(let bytes): journal.append(String(decoding: bytes, as: UTF8.self))
        case .interface(let interface): interfaces.append(interface)
        case .packet: break
        }
        return false
      }
    }
    #expect(journal.map { $0.filter { $0 != "\0" } } == times.map { "MESSAGE=\($0)\n" })
    #expect(
      interfaces == [
        CapturedInterface(index: 0, linkType: .linuxSLL2, name: "any", description: "any on web1")
      ])
    #expect(reader.packets == 3)
  }

  @Test func `a comment that is longer than its length can say is cut at a character`() throws {
    var file: [UInt8] = []
    PcapngBlock.appendSection(application: "x", to: &file)
    PcapngBlock.appendInterface(linkType: .raw, name: "any", to: &file)
    [UInt8]().withUnsafeBytes {
      PcapngBlock.appendPacket(
        interface: 0, time: 1, originalLength: 0, bytes: $0,
        comments: [String(repeating: "é", count: 40_000)], to: &file)
    }
    let (packets, error) = try read(file)
    #expect(error == nil)
    #expect(packets.count == 1)
  }
}

extension [UInt8] {
  /// Writes them to a file that has no name any more, but a path while it is open.
  func written() throws -> String {
    var path = [CChar]("/tmp/upclose-capture-XXXXXX".utf8CString)
    let descriptor = mkstemp(&path)
    try #require(descriptor >= 0)
    unlink(path)
    let count = withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    try #require(count == self.count)
    return "/proc/self/fd/\(descriptor)"
  }
}
