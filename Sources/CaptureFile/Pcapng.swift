/// An interface of a pcapng section.
struct CaptureInterface {
  /// Counted over all sections.
  var index: UInt32
  var linkType: LinkType
  var snapLength: UInt32
  /// Ticks per second; nil for nanoseconds, the one that needs no arithmetic.
  var resolution: UInt64?
  /// Nanoseconds to add (`if_tsoffset`).
  var offset: Int64

  @inline(__always)
  func nanoseconds(_ ticks: UInt64) -> Int64 {
    guard let resolution else { return Int64(bitPattern: ticks) &+ offset }
    if resolution == 1_000_000 { return Int64(bitPattern: ticks &* 1000) &+ offset }
    let (seconds, rest) = ticks.quotientAndRemainder(dividingBy: resolution)
    let product = rest.multipliedFullWidth(by: 1_000_000_000)
    let fraction = resolution.dividingFullWidth(product).quotient
    return Int64(bitPattern: seconds &* 1_000_000_000 &+ fraction) &+ offset
  }
}

extension CaptureReader {
  /// The section that is being read.
  struct Section {
    var order = ByteOrder(swapped: false)
    var interfaces: [CaptureInterface] = []
    /// Interfaces of the sections before.
    var interfacesBefore: UInt32 = 0
    /// A Simple Packet Block has no time: it takes that of the packet before.
    var lastTime: Int64 = 0
    /// The interface that was described last.
    var described: CapturedInterface?
  }

  /// - Parameters:
  ///   - wantsJournal: whether journal entries are to be read; else they are passed over.
  ///   - body: returns whether to read on.
  mutating func readPcapng(
    wantsJournal: Bool, _ body: (CaptureItem) -> Bool
  ) throws(CaptureError) {
    // It goes on where it was left.
    var section = self.section
    defer { self.section = section }
    while true {
      guard try source.fill(12) else {
        if source.available.isEmpty { return }
        throw cut(within: "a block")
      }
      if source.available.loadUnaligned(as: UInt32.self) == 0x0a0d_0d0a {
        try beginSection(&section)
      }
      let type = section.order.u32(source.available, 0)
      let length = Int(section.order.u32(source.available, 4))
      guard length >= 12, length % 4 == 0 else {
        throw failure("a block of \(length) bytes: the file is damaged")
      }
      let isJournal = type == 9 && wantsJournal && length <= longestPacket
      guard type == 1 || type == 2 || type == 3 || type == 6 || isJournal else {
        // Names, statistics, journal entries, secrets, what is yet to be invented.
        let start = source.offset
        if try !source.skip(length) { throw cut(within: "a block", at: start) }
        continue
      }
      guard length <= longestPacket + 4096 else {
        throw failure("a packet's block of \(length) bytes: the file is damaged")
      }
      guard try source.fill(length) else { throw cut(within: "a block") }
      let block = UnsafeRawBufferPointer(rebasing: source.available[..<length])
      guard section.order.u32(block, length - 4) == UInt32(length) else {
        throw failure("a block's two lengths differ: the file is damaged")
      }
      let wantsMore: Bool
      switch type {
      case 1:
        try addInterface(block, &section)
        wantsMore = section.described.map { body(.interface($0)) } ?? true
      case 6: wantsMore = try readEnhancedPacket(block, &section, body)
      case 3: wantsMore = try readSimplePacket(block, &section, body)
      case 9:
        let entry = UnsafeRawBufferPointer(rebasing: block[8..<(length - 4)])
        wantsMore = body(.journal(entry))
      default: wantsMore = try readObsoletePacket(block, &section, body)
      }
      source.consume(length)
      if !wantsMore { return }
    }
  }

  private mutating func beginSection(_ section: inout Section) throws(CaptureError) {
    let swapped: Bool
    switch source.available.loadUnaligned(fromByteOffset: 8, as: UInt32.self) {
    case 0x1a2b_3c4d: swapped = false
    case 0x4d3c_2b1a: swapped = true
    default: throw failure("a section without its byte order: the file is damaged")
    }
    section.order = ByteOrder(swapped: swapped)
    section.interfacesBefore += UInt32(section.interfaces.count)
    section.interfaces.removeAll(keepingCapacity: true)
    guard section.order.u32(source.available, 4) >= 28 else {
      throw failure("a section header that is too short: the file is damaged")
    }
    guard try source.fill(16) else { throw cut(within: "a block") }
    let major = section.order.u16(source.available, 12)
    guard major == 1 else { throw failure("pcapng of version \(major), which is not known") }
  }

  private func addInterface(
    _ block: UnsafeRawBufferPointer, _ section: inout Section
  ) throws(CaptureError) {
    guard block.count >= 20 else { throw failure("an interface's block is too short") }
    let order = section.order
    var interface = CaptureInterface(
      index: section.interfacesBefore + UInt32(section.interfaces.count),
      linkType: LinkType(rawValue: UInt32(order.u16(block, 8))),
      snapLength: order.u32(block, 12), resolution: 1_000_000, offset: 0)
    var described = CapturedInterface(index: interface.index, linkType: interface.linkType)
    var position = 16
    while position + 4 <= block.count - 4 {
      let code = order.u16(block, position)
      let length = Int(order.u16(block, position + 2))
      guard code != 0, position + 4 + length <= block.count - 4 else { break }
      if code == 9, length >= 1 {
        guard let resolution = Self.resolution(block[position + 4]) else {
          throw failure("an interface's time resolution is finer than can be counted")
        }
        interface.resolution = resolution == 1_000_000_000 ? nil : resolution
      } else if code == 14, length >= 8 {
        let seconds = Int64(bitPattern: order.u64(block, position + 4))
        interface.offset = seconds &* 1_000_000_000
      } else if code == 2 || code == 3 {
        let text = String(
          decoding: block[(position + 4)..<(position + 4 + length)], as: UTF8.self)
        if code == 2 { described.name = text } else { described.description = text }
      }
      position += 4 + (length + 3) / 4 * 4
    }
    section.interfaces.append(interface)
    section.described = described
  }

  /// Ticks per second of an `if_tsresol`: a power of ten, or of two with the top bit set.
  private static func resolution(_ code: UInt8) -> UInt64? {
    let exponent = Int(code & 0x7f)
    if code & 0x80 != 0 { return exponent < 64 ? 1 << UInt64(exponent) : nil }
    guard exponent < 20 else { return nil }
    return (0..<exponent).reduce(UInt64(1)) { value, _ in value * 10 }
  }

  private mutating func readEnhancedPacket(
    _ block: UnsafeRawBufferPointer, _ section: inout Section,
    _ body: (CaptureItem) -> Bool
  ) throws(CaptureError) -> Bool {
    guard block.count >= 32 else { throw failure("a packet's block is too short") }
    let order = section.order
    return try deliver(
      block, interface: Int(order.u32(block, 8)), headerLength: 28,
      captured: Int(order.u32(block, 20)), original: order.u32(block, 24),
      ticks: UInt64(order.u32(block, 12)) << 32 | UInt64(order.u32(block, 16)), &section, body)
  }

  private mutating func readObsoletePacket(
    _ block: UnsafeRawBufferPointer, _ section: inout Section,
    _ body: (CaptureItem) -> Bool
  ) throws(CaptureError) -> Bool {
    guard block.count >= 32 else { throw failure("a packet's block is too short") }
    let order = section.order
    return try deliver(
      block, interface: Int(order.u16(block, 8)), headerLength: 28,
      captured: Int(order.u32(block, 20)), original: order.u32(block, 24),
      ticks: UInt64(order.u32(block, 12)) << 32 | UInt64(order.u32(block, 16)), &section, body)
  }

  private mutating func readSimplePacket(
    _ block: UnsafeRawBufferPointer, _ section: inout Section,
    _ body: (CaptureItem) -> Bool
  ) throws(CaptureError) -> Bool {
    guard block.count >= 16 else { throw failure("a packet's block is too short") }
    let original = section.order.u32(block, 8)
    let snapLength = section.interfaces.first?.snapLength ?? 0
    var captured = min(Int(original), block.count - 16)
    if snapLength > 0 { captured = min(captured, Int(snapLength)) }
    return try deliver(
      block, interface: 0, headerLength: 12, captured: captured, original: original, ticks: nil,
      &section, body)
  }

  private mutating func deliver(
    _ block: UnsafeRawBufferPointer, interface number: Int, headerLength: Int, captured: Int,
    original: UInt32, ticks: UInt64?, _ section: inout Section,
    _ body: (CaptureItem) -> Bool
  ) throws(CaptureError) -> Bool {
    guard number < section.interfaces.count else {
      throw failure("a packet of interface \(number), which was not described")
    }
    guard captured <= block.count - headerLength - 4 else {
      throw failure("a packet is longer than its block: the file is damaged")
    }
    let interface = section.interfaces[number]
    if let ticks {
      // A damaged stamp must not overflow what is computed with it: 1823 to 2116 are enough.
      let limit: Int64 = 1 << 62
      section.lastTime = min(max(interface.nanoseconds(ticks), -limit), limit)
    }
    let packet = CapturedPacket(
      time: section.lastTime, interface: interface.index, linkType: interface.linkType,
      originalLength: original,
      bytes: UnsafeRawBufferPointer(rebasing: block[headerLength..<(headerLength + captured)]))
    packetCount &+= 1
    return body(.packet(packet))
  }
}
