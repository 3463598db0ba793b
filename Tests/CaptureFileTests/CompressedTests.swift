import Testing

@testable import CaptureFile

/// Captures that gzip has made smaller. Its "stored" blocks (RFC 1951, 3.2.4) need no compressor here.
@Suite struct CompressedTests {
  private func crc(_ bytes: [UInt8]) -> UInt32 {
    ~bytes.reduce(UInt32.max) { crc, byte in
      (0..<8).reduce(crc ^ UInt32(byte)) { value, _ in
        value & 1 == 1 ? value >> 1 ^ 0xedb8_8320 : value >> 1
      }
    }
  }

  /// One gzip member.
  private func gzip(_ bytes: [UInt8]) -> [UInt8] {
    let numbers = Numbers()
    var member: [UInt8] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]
    var rest = bytes[...]
    repeat {
      let piece = rest.prefix(60_000)
      rest = rest.dropFirst(60_000)
      let length = UInt16(piece.count)
      member += [rest.isEmpty ? 1 : 0] + numbers.u16(length) + numbers.u16(~length) + piece
    } while !rest.isEmpty
    return member + numbers.u32(crc(bytes)) + numbers.u32(UInt32(bytes.count))
  }

  private func capture(_ packets: Int) -> [UInt8] {
    var file = PcapWriter.header(linkType: .ethernet)
    for index in 0..<packets {
      [UInt8](repeating: UInt8(index % 251), count: 50 + index % 50).withUnsafeBytes { bytes in
        PcapWriter.append(
          time: Int64(index) * 1000, originalLength: UInt32(bytes.count), bytes: bytes, to: &file)
      }
    }
    return file
  }

  @Test(arguments: [0, 1, 3000]) func `a compressed capture is read as it was`(count: Int) throws {
    let file = capture(count)
    let plain = try read(file)
    let found = try read(gzip(file))
    #expect(plain.packets.count == count)
    #expect(found.packets == plain.packets)
    #expect(found.error == nil)
  }

  @Test func `two members are one file`() throws {
    let file = capture(100)
    let found = try read(gzip(Array(file[..<1000])) + gzip(Array(file[1000...])))
    #expect(found.packets == (try read(file)).packets)
    #expect(found.error == nil)
  }

  @Test func `what stood before the damage is told`() throws {
    let whole = gzip(capture(3000))
    let cut = try read(Array(whole[..<150_000]))
    #expect(cut.packets.count > 1000)
    #expect(cut.error?.reason == "its compressed data ends too early")
    var damaged = whole
    damaged[10] = 7
    #expect(
      try read(damaged).error?.reason == "its compressed data is damaged (zlib -3)")
    #expect(
      try read(gzip(gzip(capture(3)))).error?.reason
        == "the file is compressed with gzip twice: pipe it through `gzip -dc` and read `-`")
  }
}
