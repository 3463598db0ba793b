import CaptureFile
import Evidence
import Glibc
import Testing

@testable import PacketProbe

/// Damaged captures: nothing traps, and each connection is told once. Mutations are made by a
/// generator of fixed seed, so that what fails here fails again.
///
/// A few seconds in an ordinary run; longer by hand with `UPCLOSE_FUZZ_SECONDS=600` (and another
/// sequence with `UPCLOSE_FUZZ_SEED=2`). What it finds becomes a test of its own.
@Suite struct CaptureFuzzTests {
  struct Dice: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return state
    }
    mutating func below(_ limit: Int) -> Int {
      limit < 1 ? 0 : .random(in: 0..<limit, using: &self)
    }
  }

  private static func number(_ name: String) -> Int? {
    getenv(name).flatMap { Int(String(cString: $0)) }
  }

  // MARK: Whole files to begin with

  private static func little(_ values: UInt32...) -> [UInt8] {
    values.flatMap { value in withUnsafeBytes(of: value.littleEndian) { Array($0) } }
  }

  private static func pcap(_ frames: [[UInt8]], _ linkType: UInt32, magic: UInt32) -> [UInt8] {
    var file = little(magic, 0x0004_0002, 0, 0, 65535, linkType)
    for (index, frame) in frames.enumerated() {
      file +=
        little(
          1_700_000_000, UInt32(index) * 1000, UInt32(frame.count), UInt32(frame.count)) + frame
    }
    return file
  }

  private static func block(_ type: UInt32, _ body: [UInt8]) -> [UInt8] {
    let padded = body + [UInt8](repeating: 0, count: (4 - body.count % 4) % 4)
    let length = UInt32(padded.count + 12)
    return little(type, length) + padded + little(length)
  }

  private static func pcapng(_ frames: [[UInt8]], _ linkType: UInt32) -> [UInt8] {
    let section = block(0x0a0d_0d0a, little(0x1a2b_3c4d, 1, .max, .max))
    let resolution: [UInt8] =
      [9, 0, 1, 0, 9, 0, 0, 0, 14, 0, 8, 0] + [UInt8](repeating: 0, count: 12)
    let interface = block(1, little(linkType, 65535) + resolution)
    var file = section + interface + interface
    for (index, frame) in frames.enumerated() {
      let length = UInt32(frame.count)
      file +=
        index % 5 == 4
        ? block(3, little(length) + frame)
        : block(6, little(UInt32(index % 2), 396_000, UInt32(index), length, length) + frame)
      if index == 3 { file += block(5, little(0, 0, 0)) + section + interface + interface }
    }
    return file
  }

  private static func conversation(_ change: (inout Frame) -> Void = { _ in }) -> [Frame] {
    let flags: [(Bool, UInt8, String)] = [
      (true, 2, ""), (false, 0x12, ""), (true, 0x10, ""),
      (true, 0x18, "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"), (false, 0x10, ""),
      (false, 0x18, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
      (false, 0x11, ""), (true, 0x18, "GET /b?c HTTP/1.1\r\n\r\n"), (false, 0x04, ""),
      (true, 0x11, ""),
    ]
    var next: [UInt32] = [.max - 20, 7000]
    return flags.map { fromClient, flags, text in
      var frame = Frame()
      change(&frame)
      if !fromClient {
        swap(&frame.source, &frame.destination)
        swap(&frame.sourcePort, &frame.destinationPort)
      }
      frame.flags = flags
      frame.sequence = next[fromClient ? 0 : 1]
      frame.acknowledgement = next[fromClient ? 1 : 0]
      frame.payload = Array(text.utf8)
      frame.options = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]
      next[fromClient ? 0 : 1] &+=
        UInt32(text.utf8.count) + UInt32(flags & 1) + UInt32(flags >> 1 & 1)
      return frame
    }
  }

  private static var seeds: [[UInt8]] {
    let v4 = conversation()
    let v6 = conversation {
      $0.source = [0x20, 1] + [UInt8](repeating: 0, count: 13) + [1]
      $0.destination = [0x20, 1] + [UInt8](repeating: 0, count: 13) + [2]
      $0.extensions = [
        (0, [0] + [UInt8](repeating: 0, count: 6)), (44, [UInt8](repeating: 0, count: 7)),
      ]
    }
    let options = conversation { $0.internetOptions = [1, 1, 1, 0] }
    return [
      pcap(v4.map(\.ethernet), 1, magic: 0xa1b2_c3d4),
      pcap(v6.map(\.ethernet), 1, magic: 0xa1b2_3c4d),
      pcap(options.map { $0.ethernet(tags: [0x88a8, 0x8100]) }, 1, magic: 0xa1b2_c3d4),
      pcap(v6.map { $0.sll2(interface: 3) }, 276, magic: 0xa1b2_3c4d),
      pcap(v4.map { $0.sll() }, 113, magic: 0xa1b2_c3d4),
      pcap(v4.map(\.ip), 101, magic: 0xa1b2_c3d4),
      pcap(v4.map { $0.null(family: [2, 0, 0, 0]) }, 0, magic: 0xa1b2_c3d4),
      pcapng(v4.map(\.ethernet), 1), pcapng(v6.map { $0.sll2(interface: 9) }, 276),
    ]
  }

  // MARK: Damage

  private static func damage(_ file: inout [UInt8], _ other: [UInt8], _ dice: inout Dice) {
    guard !file.isEmpty else { return }
    let place = dice.below(file.count)
    let interesting: [UInt8] = [0, 1, 2, 4, 0x10, 0x14, 0x45, 0x4f, 0x60, 0x7f, 0x80, 0xf0, 0xff]
    switch dice.below(9) {
    case 0: file[place] = UInt8.random(in: 0...255, using: &dice)
    case 1: file[place] = interesting[dice.below(interesting.count)]
    case 2: file[place] ^= 1 << UInt8(dice.below(8))
    case 3: file.removeSubrange(place..<min(file.count, place + 1 + dice.below(40)))
    case 4: file.removeLast(min(file.count - 1, dice.below(60)))
    case 5:
      let piece = file[place..<min(file.count, place + 1 + dice.below(120))]
      file.insert(contentsOf: Array(piece), at: dice.below(file.count))
    case 6:
      let start = dice.below(other.count)
      let piece = other[start..<min(other.count, start + 1 + dice.below(200))]
      file.insert(contentsOf: Array(piece), at: place)
    case 7:
      let word = [UInt32(0), 1, 0x7fff_ffff, 0x8000_0000, .max, 0xffff_fff0, 65535][dice.below(7)]
      for (offset, byte) in little(word).enumerated() where place + offset < file.count {
        file[place + offset] = byte
      }
    default: file[place] &+= dice.below(2) == 0 ? 1 : 255
    }
  }

  private final class Told {
    var ids: [UInt64: Int] = [:]
    var lengths = 0
  }

  @Test func `damaged captures`() throws {
    let clock = ContinuousClock()
    let seconds = Self.number("UPCLOSE_FUZZ_SECONDS")
    let deadline = clock.now + .seconds(seconds ?? 0)
    var dice = Dice(
      state: UInt64(Self.number("UPCLOSE_FUZZ_SEED") ?? 1) &* 0x9e37_79b9_7f4a_7c15)
    let descriptor = namelessFile()
    defer { close(descriptor) }
    let path = "/proc/self/fd/\(descriptor)"
    let seeds = Self.seeds
    // Without a wish for more the number is fixed, not the time: every run does the same.
    let rounds = seconds == nil ? 2500 : Int.max
    var round = 0
    while round < rounds, seconds == nil || clock.now < deadline {
      var file = seeds[dice.below(seeds.count)]
      for _ in 0...dice.below(6) { Self.damage(&file, seeds[dice.below(seeds.count)], &dice) }
      ftruncate(descriptor, 0)
      pwrite(descriptor, file, file.count, 0)
      var options = dice.below(4) == 0 ? TrackerOptions.attached : .offline
      options.maximumConnections = [1, 3, 1 << 20][dice.below(3)]
      let told = Told()
      let result = analyzeCapture(path: path, options: options) {
        told.ids[$0.id, default: 0] += 1
        told.lengths += $0.history.utf8.count
      }
      if options.live == nil {
        #expect(told.ids.count == Int(result.counters.connections))
        #expect(told.ids.values.allSatisfy { $0 == 1 })
      }
      round += 1
    }
    #expect(round > 0)
  }

  /// A file without a name.
  private func namelessFile() -> Int32 {
    var name = Array("/tmp/upclose-fuzz-XXXXXX".utf8CString)
    let descriptor = mkstemp(&name)
    unlink(name)
    return descriptor
  }
}
