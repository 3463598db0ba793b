import CLinux

/// Finds a connection by its two ends, whichever direction a packet goes: open addressing with linear
/// probing over a power of two, at most two fifths full.
struct ConnectionTable: ~Copyable {
  var records: Pool<Record>
  /// Number and the upper half of the hash; 0 when free.
  private var index: UnsafeMutablePointer<UInt64>
  private var mask: Int
  private(set) var count = 0

  init() {
    records = Pool()
    mask = 1023
    index = .allocate(capacity: mask + 1)
    index.initialize(repeating: 0, count: mask + 1)
  }

  deinit { index.deallocate() }

  /// The same for both directions.
  @inline(__always)
  static func hash(
    _ a: Segment.Address, _ aPort: UInt16, _ b: Segment.Address, _ bPort: UInt16
  ) -> UInt64 {
    let sum = end(a, aPort) &+ end(b, bPort)
    let mixed = sum.multipliedFullWidth(by: 0x9e37_79b9_7f4a_7c15)
    return mixed.high ^ mixed.low
  }

  @inline(__always)
  static func hash(_ segment: UnsafePointer<Segment>) -> UInt64 {
    hash(
      segment.pointee.source, segment.pointee.sourcePort, segment.pointee.destination,
      segment.pointee.destinationPort)
  }

  /// Asks for the entry that a look-up will begin with.
  @inline(__always)
  func fetchEntry(_ hash: UInt64) {
    clinux_prefetch(index + (Int(truncatingIfNeeded: hash) & mask))
  }

  /// Asks for the connection that a look-up is likely to find.
  @inline(__always)
  func fetchRecord(_ hash: UInt64) {
    let tag = hash & 0xffff_ffff_0000_0000
    var slot = Int(truncatingIfNeeded: hash) & mask
    while true {
      let entry = index[slot]
      if entry == 0 { return }
      if entry & 0xffff_ffff_0000_0000 == tag {
        let record = UnsafeRawPointer(records[UInt32(truncatingIfNeeded: entry)])
        var line = 0
        while line < MemoryLayout<Record>.size {
          clinux_prefetch(record + line)
          line += 64
        }
        return
      }
      slot = (slot &+ 1) & mask
    }
  }

  @inline(__always)
  private static func end(_ address: Segment.Address, _ port: UInt16) -> UInt64 {
    let value = address.low ^ address.high &* 0xa076_1d64_78bd_642f ^ UInt64(port) << 47
    let mixed = value.multipliedFullWidth(by: 0xe703_7ed1_a0b4_28db)
    return mixed.high ^ mixed.low
  }

  /// - Returns: the connection's number, and whether the segment's source is its originator; 0 when
  ///   it is not known.
  @inline(__always)
  func find(_ segment: UnsafePointer<Segment>, hash: UInt64) -> (number: UInt32, isOriginator: Bool)
  {
    let tag = hash & 0xffff_ffff_0000_0000
    var slot = Int(truncatingIfNeeded: hash) & mask
    while true {
      let entry = index[slot]
      if entry == 0 { return (0, false) }
      if entry & 0xffff_ffff_0000_0000 == tag {
        let number = UInt32(truncatingIfNeeded: entry)
        let record = records[number]
        if record.pointee.originatorPort == segment.pointee.sourcePort,
          record.pointee.responderPort == segment.pointee.destinationPort,
          record.pointee.originatorAddress == segment.pointee.source,
          record.pointee.responderAddress == segment.pointee.destination
        {
          return (number, true)
        }
        if record.pointee.responderPort == segment.pointee.sourcePort,
          record.pointee.originatorPort == segment.pointee.destinationPort,
          record.pointee.responderAddress == segment.pointee.source,
          record.pointee.originatorAddress == segment.pointee.destination
        {
          return (number, false)
        }
      }
      slot = (slot &+ 1) & mask
    }
  }

  mutating func insert(_ record: Record, hash: UInt64) -> UInt32 {
    if (count + 1) * 5 > (mask + 1) * 2 { grow() }
    let number = records.take(record)
    place(number, hash)
    count += 1
    return number
  }

  mutating func remove(_ number: UInt32) {
    let record = records[number]
    let hash = Self.hash(
      record.pointee.originatorAddress, record.pointee.originatorPort,
      record.pointee.responderAddress, record.pointee.responderPort)
    var slot = Int(truncatingIfNeeded: hash) & mask
    while index[slot] != 0, UInt32(truncatingIfNeeded: index[slot]) != number {
      slot = (slot &+ 1) & mask
    }
    guard index[slot] != 0 else { return }
    closeHole(slot)
    record.pointee.id = 0
    record.pointee.scheduled = .max
    records.giveBack(number)
    count -= 1
  }

  /// Moves up what stands behind a removed entry, so that no probe ends too early.
  private mutating func closeHole(_ removed: Int) {
    var hole = removed
    var slot = (hole + 1) & mask
    while index[slot] != 0 {
      let record = records[UInt32(truncatingIfNeeded: index[slot])].pointee
      let home =
        Int(
          truncatingIfNeeded: Self.hash(
            record.originatorAddress, record.originatorPort, record.responderAddress,
            record.responderPort)) & mask
      if (slot &- home) & mask >= (slot &- hole) & mask {
        index[hole] = index[slot]
        hole = slot
      }
      slot = (slot &+ 1) & mask
    }
    index[hole] = 0
  }

  private mutating func place(_ number: UInt32, _ hash: UInt64) {
    var slot = Int(truncatingIfNeeded: hash) & mask
    while index[slot] != 0 { slot = (slot &+ 1) & mask }
    index[slot] = hash & 0xffff_ffff_0000_0000 | UInt64(number)
  }

  private mutating func grow() {
    let old = index
    let oldCount = mask + 1
    mask = oldCount * 2 - 1
    index = .allocate(capacity: mask + 1)
    index.initialize(repeating: 0, count: mask + 1)
    for slot in 0..<oldCount where old[slot] != 0 {
      let number = UInt32(truncatingIfNeeded: old[slot])
      let record = records[number]
      place(
        number,
        Self.hash(
          record.pointee.originatorAddress, record.pointee.originatorPort,
          record.pointee.responderAddress, record.pointee.responderPort))
    }
    old.deallocate()
  }

  /// Every connection's number, in no order.
  var numbers: [UInt32] {
    var numbers: [UInt32] = []
    numbers.reserveCapacity(count)
    for number in 1..<records.end where records[number].pointee.id != 0 { numbers.append(number) }
    return numbers
  }

  /// Every connection's number, in order of the first packet.
  var numbersByAge: [UInt32] {
    var numbers = numbers
    numbers.sort { records[$0].pointee.id < records[$1].pointee.id }
    return numbers
  }
}
