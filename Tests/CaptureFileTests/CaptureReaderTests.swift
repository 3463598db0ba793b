import Glibc
import Testing

@testable import CaptureFile

/// A packet with its bytes copied out, for whole-value comparisons.
struct Got: Equatable {
  var time: Int64
  var interface: UInt32 = 0
  var linkType: UInt32 = 1
  var original: UInt32
  var bytes: [UInt8]
}

/// Writes the bytes to a file of their own, reads it, and removes it.
func read(_ bytes: [UInt8], bufferSize: Int = 4096) throws -> (packets: [Got], error: CaptureError?)
{
  var path = Array("/tmp/upclose-capture-XXXXXX".utf8CString)
  let descriptor = mkstemp(&path)
  try #require(descriptor >= 0)
  let name = String(decoding: path.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  defer {
    close(descriptor)
    unlink(name)
  }
  var written = 0
  while written < bytes.count {
    let count = bytes[written...].withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    try #require(count > 0)
    written += count
  }
  var packets: [Got] = []
  do throws(CaptureError) {
    var reader = try CaptureReader(path: name, bufferSize: bufferSize)
    try reader.readPackets { packet in
      packets.append(
        Got(
          time: packet.time, interface: packet.interface, linkType: packet.linkType.rawValue,
          original: packet.originalLength, bytes: Array(packet.bytes)))
    }
  } catch {
    var error = error
    #expect(error.path == name)
    error.path = "FILE"
    return (packets, error)
  }
  return (packets, nil)
}

/// Numbers in either byte order.
struct Numbers {
  var big = false
  func u16(_ value: UInt16) -> [UInt8] {
    let bytes = [UInt8(value >> 8), UInt8(value & 255)]
    return big ? bytes : bytes.reversed()
  }
  func u32(_ value: UInt32) -> [UInt8] {
    let bytes = (0..<4).map { UInt8(truncatingIfNeeded: value >> UInt32(24 - 8 * $0)) }
    return big ? bytes : bytes.reversed()
  }

  func pcap(magic: UInt32, packets: [(UInt32, UInt32, [UInt8])]) -> [UInt8] {
    var bytes = u32(magic) + u16(2) + u16(4) + u32(0) + u32(0) + u32(65535) + u32(1)
    for (seconds, fraction, data) in packets {
      bytes += u32(seconds) + u32(fraction) + u32(UInt32(data.count)) + u32(UInt32(data.count) + 9)
      bytes += data
    }
    return bytes
  }

  func block(_ type: UInt32, _ body: [UInt8]) -> [UInt8] {
    let padded = body + [UInt8](repeating: 0, count: (4 - body.count % 4) % 4)
    let length = u32(UInt32(padded.count + 12))
    return u32(type) + length + padded + length
  }

  func section() -> [UInt8] {
    block(0x0a0d_0d0a, u32(0x1a2b_3c4d) + u16(1) + u16(0) + u32(.max) + u32(.max))
  }

  func interface(_ link: UInt16, snap: UInt32 = 0, options: [UInt8] = []) -> [UInt8] {
    block(1, u16(link) + u16(0) + u32(snap) + options)
  }

  func option(_ code: UInt16, _ value: [UInt8]) -> [UInt8] {
    u16(code) + u16(UInt16(value.count)) + value
      + [UInt8](repeating: 0, count: (4 - value.count % 4) % 4)
  }

  func enhanced(_ interface: UInt32, ticks: UInt64, _ data: [UInt8], original: UInt32) -> [UInt8] {
    let padded = data + [UInt8](repeating: 0, count: (4 - data.count % 4) % 4)
    return block(
      6,
      u32(interface) + u32(UInt32(ticks >> 32)) + u32(UInt32(truncatingIfNeeded: ticks))
        + u32(UInt32(data.count)) + u32(original) + padded)
  }
}

@Suite struct PcapTests {
  @Test(arguments: [false, true]) func `microseconds and nanoseconds, either byte order`(
    big: Bool
  ) throws {
    let numbers = Numbers(big: big)
    let micro = try read(numbers.pcap(magic: 0xa1b2_c3d4, packets: [(10, 999_999, [1, 2, 3])]))
    #expect(micro.packets == [Got(time: 10_999_999_000, original: 12, bytes: [1, 2, 3])])
    #expect(micro.error == nil)
    let nano = try read(
      numbers.pcap(magic: 0xa1b2_3c4d, packets: [(10, 999_999, []), (11, 1, [7])]))
    #expect(
      nano.packets == [
        Got(time: 10_000_999_999, original: 9, bytes: []),
        Got(time: 11_000_000_001, original: 10, bytes: [7]),
      ])
  }

  @Test func `a file cut anywhere gives what stood before, and where it was cut`() throws {
    let whole = Numbers().pcap(
      magic: 0xa1b2_c3d4, packets: [(1, 0, [1, 2, 3]), (2, 0, [4]), (3, 0, [])])
    let ends = [24, 43, 60, 76]
    for count in 0..<whole.count {
      let (packets, error) = try read(Array(whole[..<count]))
      let complete = ends.filter { $0 <= count }.count - 1
      #expect(packets.count == max(0, complete))
      if ends.contains(count) {
        #expect(error == nil)
      } else {
        #expect(error?.offset == UInt64(ends.last { $0 <= count } ?? 0))
      }
    }
  }

  @Test func `an absurd length is damage, not memory`() throws {
    var bytes = Numbers().pcap(magic: 0xa1b2_c3d4, packets: [(1, 0, [1]), (2, 0, [2])])
    bytes.replaceSubrange((24 + 17 + 8)..<(24 + 17 + 12), with: [0xff, 0xff, 0xff, 0x7f])
    let (packets, error) = try read(bytes)
    #expect(packets.count == 1)
    #expect(
      error
        == CaptureError(
          path: "FILE", offset: 41, reason: "a packet of 2147483647 bytes: the file is damaged"))
  }

  @Test func `records larger than the buffer, and many of them`() throws {
    let data = (0..<200).map { index in [UInt8](repeating: UInt8(index), count: index * 97) }
    let bytes = Numbers().pcap(
      magic: 0xa1b2_c3d4, packets: data.enumerated().map { (UInt32($0.offset), 0, $0.element) })
    let (packets, error) = try read(bytes)
    #expect(error == nil)
    #expect(packets.map(\.bytes) == data)
  }

  @Test func `what is no capture says what it may be`() throws {
    #expect(try read([]).error?.reason == "the file is empty")
    #expect(try read(Array("hello, world".utf8)).error?.reason == "this is neither pcap nor pcapng")
    let zstd = try read([0x28, 0xb5, 0x2f, 0xfd, 0, 0]).error
    #expect(
      zstd?.reason
        == "the file is compressed with zstd: pipe it through `zstd -dc` and read `-`")
    #expect(throws: CaptureError(path: "/nonexistent", reason: "No such file or directory")) {
      _ = try CaptureReader(path: "/nonexistent")
    }
  }

  @Test func `what the writer writes is read again`() throws {
    let path = "/tmp/upclose-writer-\(getpid())-\(UInt64.random(in: 0 ... .max)).pcap"
    defer { unlink(path) }
    var writer = try PcapWriter(path: path, linkType: .linuxSLL2)
    let data: [UInt8] = [1, 2, 3]
    try data.withUnsafeBytes { bytes in
      try writer.write(time: 1_700_000_000_123_456_789, originalLength: 77, bytes: bytes)
    }
    try writer.close()
    var packets: [Got] = []
    var reader = try CaptureReader(path: path)
    try reader.readPackets { packet in
      packets.append(
        Got(
          time: packet.time, linkType: packet.linkType.rawValue, original: packet.originalLength,
          bytes: Array(packet.bytes)))
    }
    #expect(
      packets == [
        Got(time: 1_700_000_000_123_456_789, linkType: 276, original: 77, bytes: data)
      ])
  }
}

@Suite struct PcapngTests {
  @Test(arguments: [false, true]) func `sections, interfaces and their times`(big: Bool) throws {
    let n = Numbers(big: big)
    let offset = n.option(14, big ? [0, 0, 0, 0, 0, 0, 0, 100] : [100, 0, 0, 0, 0, 0, 0, 0])
    var bytes = n.section()
    bytes += n.interface(1)
    bytes += n.interface(276, options: n.option(9, [9]) + n.option(0, []))
    bytes += n.interface(101, options: n.option(9, [0x80 | 10]) + offset)
    bytes += n.block(4, [1, 2, 3])
    bytes += n.enhanced(0, ticks: 5_000_001, [1], original: 60)
    bytes += n.enhanced(1, ticks: 7_000_000_001, [2, 2], original: 2)
    bytes += n.enhanced(2, ticks: 1024 * 3 + 512, [3, 3, 3], original: 3)
    // An obsolete Packet Block: interface and drops in 16 bits each.
    bytes += n.block(
      2, n.u16(1) + n.u16(0) + n.u32(0) + n.u32(9) + n.u32(4) + n.u32(40) + [4, 4, 4, 4])
    // A Simple Packet Block has the time of the packet before.
    bytes += n.block(3, n.u32(3) + [5, 5, 5])
    // A second section in the other byte order, whose interfaces count on.
    let other = Numbers(big: !big)
    bytes += other.section() + other.interface(113)
    bytes += other.enhanced(0, ticks: 6, [6], original: 1)
    let (packets, error) = try read(bytes)
    #expect(error == nil)
    #expect(
      packets == [
        Got(time: 5_000_001_000, interface: 0, linkType: 1, original: 60, bytes: [1]),
        Got(time: 7_000_000_001, interface: 1, linkType: 276, original: 2, bytes: [2, 2]),
        Got(time: 103_500_000_000, interface: 2, linkType: 101, original: 3, bytes: [3, 3, 3]),
        Got(time: 9, interface: 1, linkType: 276, original: 40, bytes: [4, 4, 4, 4]),
        Got(time: 9, interface: 0, linkType: 1, original: 3, bytes: [5, 5, 5]),
        Got(time: 6000, interface: 3, linkType: 113, original: 1, bytes: [6]),
      ])
  }

  @Test func `a file cut anywhere gives what stood before, and does not trap`() throws {
    let n = Numbers()
    let head = n.section() + n.interface(1)
    let first = n.enhanced(0, ticks: 1, [1, 2, 3, 4, 5], original: 5)
    let unknown = n.block(0xbad, [UInt8](repeating: 9, count: 40))
    let second = n.enhanced(0, ticks: 2, [6], original: 1)
    let whole = head + first + unknown + second
    var ends: Set<Int> = [0]
    for piece in [n.section(), n.interface(1), first, unknown, second] {
      ends.insert((ends.max() ?? 0) + piece.count)
    }
    for count in 1..<whole.count {
      let (packets, error) = try read(Array(whole[..<count]))
      #expect(packets.count == (count >= head.count + first.count ? 1 : 0))
      #expect((error == nil) == ends.contains(count))
    }
  }

  @Test func `every byte damaged in turn does not trap`() throws {
    let n = Numbers()
    let whole =
      n.section()
      + n.interface(1, options: n.option(9, [6]) + n.option(14, [1, 0, 0, 0, 0, 0, 0, 0]))
      + n.enhanced(0, ticks: 1, [1, 2, 3, 4, 5], original: 5) + n.block(3, n.u32(3) + [5, 5, 5])
    for position in 0..<whole.count {
      for value in [UInt8(0), 1, 0x7f, 0x80, 0xff] {
        var damaged = whole
        damaged[position] = value
        _ = try read(damaged)
      }
    }
  }

  @Test func `a packet of an interface that was not described is an error`() throws {
    let n = Numbers()
    let bytes = n.section() + n.enhanced(3, ticks: 1, [1], original: 1)
    #expect(
      try read(bytes).error
        == CaptureError(
          path: "FILE", offset: 28, reason: "a packet of interface 3, which was not described"))
  }
}
