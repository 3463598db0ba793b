/// The blocks that a pcapng file is made of (draft-ietf-opsawg-pcapng), appended to bytes in the byte
/// order of this host. A file is a section header, then interfaces, then what refers to them; whoever
/// writes the bytes whole leaves a file that is good at every moment.
public enum PcapngBlock {
  /// A Section Header Block, of unknown length.
  /// - Parameters:
  ///   - application: who writes it (`shb_userappl`).
  ///   - comment: for people (`opt_comment`).
  public static func appendSection(
    application: String, comment: String? = nil, to file: inout [UInt8]
  ) {
    append(type: 0x0a0d_0d0a, to: &file) { block in
      append32(0x1a2b_3c4d, to: &block)
      append16(1, to: &block)
      append16(0, to: &block)
      append64(.max, to: &block)
      if let comment { appendOption(1, comment, to: &block) }
      appendOption(4, application, to: &block)
      appendEnd(to: &block)
    }
  }

  /// An Interface Description Block whose times are nanoseconds.
  /// - Parameters:
  ///   - name: as `any` (`if_name`).
  ///   - description: (`if_description`).
  public static func appendInterface(
    linkType: LinkType, snapLength: UInt32 = 0, name: String, description: String? = nil,
    to file: inout [UInt8]
  ) {
    append(type: 1, to: &file) { block in
      append16(UInt16(truncatingIfNeeded: linkType.rawValue), to: &block)
      append16(0, to: &block)
      append32(snapLength, to: &block)
      appendOption(2, name, to: &block)
      if let description { appendOption(3, description, to: &block) }
      append16(9, to: &block)
      append16(1, to: &block)
      block += [9, 0, 0, 0]
      appendEnd(to: &block)
    }
  }

  /// An Enhanced Packet Block.
  /// - Parameters:
  ///   - interface: of this section, from 0, with nanoseconds.
  ///   - time: nanoseconds since the epoch.
  ///   - originalLength: on the wire.
  ///   - comments: each one `opt_comment`.
  public static func appendPacket(
    interface: UInt32, time: Int64, originalLength: UInt32, bytes: UnsafeRawBufferPointer,
    comments: [String] = [], to file: inout [UInt8]
  ) {
    append(type: 6, to: &file) { block in
      let ticks = UInt64(bitPattern: time)
      append32(interface, to: &block)
      append32(UInt32(truncatingIfNeeded: ticks >> 32), to: &block)
      append32(UInt32(truncatingIfNeeded: ticks), to: &block)
      append32(UInt32(truncatingIfNeeded: bytes.count), to: &block)
      append32(originalLength, to: &block)
      block.append(contentsOf: bytes)
      pad(&block, bytes.count)
      guard !comments.isEmpty else { return }
      for comment in comments { appendOption(1, comment, to: &block) }
      appendEnd(to: &block)
    }
  }

  /// A systemd Journal Export Block.
  /// - Parameter entry: in the Journal Export Format, with `__REALTIME_TIMESTAMP`, and a newline at
  ///   the end.
  public static func appendJournal(_ entry: some Collection<UInt8>, to file: inout [UInt8]) {
    append(type: 9, to: &file) { block in
      block.append(contentsOf: entry)
      pad(&block, entry.count)
    }
  }

  // MARK: Pieces

  private static func append(
    type: UInt32, to file: inout [UInt8], _ body: (inout [UInt8]) -> Void
  ) {
    let start = file.count
    append32(type, to: &file)
    append32(0, to: &file)
    body(&file)
    let length = UInt32(truncatingIfNeeded: file.count - start + 4)
    append32(length, to: &file)
    withUnsafeBytes(of: length) { bytes in
      for (place, byte) in bytes.enumerated() { file[start + 4 + place] = byte }
    }
  }

  /// A string's option; what does not fit its length of 16 bits is cut at a character.
  private static func appendOption(_ code: UInt16, _ text: String, to block: inout [UInt8]) {
    var bytes = Array(text.utf8)
    if bytes.count > 65_000 {
      var end = 65_000
      // Not within a character: its later bytes begin with 10.
      while end > 0, bytes[end] & 0xc0 == 0x80 { end -= 1 }
      bytes.removeSubrange(end...)
    }
    append16(code, to: &block)
    append16(UInt16(bytes.count), to: &block)
    block += bytes
    pad(&block, bytes.count)
  }

  private static func appendEnd(to block: inout [UInt8]) { append32(0, to: &block) }

  private static func pad(_ block: inout [UInt8], _ count: Int) {
    for _ in 0..<((4 - count % 4) % 4) { block.append(0) }
  }

  private static func append16(_ value: UInt16, to block: inout [UInt8]) {
    withUnsafeBytes(of: value) { block.append(contentsOf: $0) }
  }

  private static func append32(_ value: UInt32, to block: inout [UInt8]) {
    withUnsafeBytes(of: value) { block.append(contentsOf: $0) }
  }

  private static func append64(_ value: UInt64, to block: inout [UInt8]) {
    withUnsafeBytes(of: value) { block.append(contentsOf: $0) }
  }
}
