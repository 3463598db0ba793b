import CLinux
import Evidence

/// Finds a connection by its two ends, whichever direction a packet goes: open addressing with linear
/// probing over a power of two, at most two fifths full.
struct ConnectionTable: ~Copyable {
  var records: Pool<Record>
  private var pairs = Pool<AddressPair>()
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

  /// The same for both directions of IPv4.
  @inline(__always)
  static func hash(pair: UInt64, ports: UInt32) -> UInt64 {
    mix(
      (pair >> 32) << 16 | UInt64(ports >> 16), (pair & 0xffff_ffff) << 16 | UInt64(ports & 0xffff))
  }

  /// The same for both directions of IPv6.
  @inline(__always)
  static func hash(_ a: Segment.Address, _ b: Segment.Address, ports: UInt32) -> UInt64 {
    mix(
      end(a, UInt16(truncatingIfNeeded: ports >> 16)), end(b, UInt16(truncatingIfNeeded: ports)))
  }

  @inline(__always)
  private static func mix(_ a: UInt64, _ b: UInt64) -> UInt64 {
    let secret: UInt64 = 0xa076_1d64_78bd_642f
    let both = (a ^ secret).multipliedFullWidth(by: b ^ secret)
    let mixed = (both.high ^ both.low).multipliedFullWidth(by: 0x9e37_79b9_7f4a_7c15)
    return mixed.high ^ mixed.low
  }

  @inline(__always)
  private static func end(_ address: Segment.Address, _ port: UInt16) -> UInt64 {
    let value = address.low ^ address.high &* 0xa076_1d64_78bd_642f ^ UInt64(port) << 47
    let mixed = value.multipliedFullWidth(by: 0xe703_7ed1_a0b4_28db)
    return mixed.high ^ mixed.low
  }

  @inline(__always)
  static func hash(_ segment: UnsafePointer<Segment>) -> UInt64 {
    if segment.pointee.isSix {
      return hash(
        segment.pointee.source, segment.pointee.destination, ports: segment.pointee.ports)
    }
    return hash(pair: segment.pointee.pair, ports: segment.pointee.ports)
  }

  private func hash(of record: UnsafeMutablePointer<Record>) -> UInt64 {
    let ports = record.pointee.ports
    guard record.pointee.marks.contains(.six) else {
      return Self.hash(pair: record.pointee.pair, ports: ports)
    }
    let pair = pair(record)
    return Self.hash(pair.pointee.originator, pair.pointee.responder, ports: ports)
  }

  private func pair(_ record: UnsafeMutablePointer<Record>) -> UnsafeMutablePointer<AddressPair> {
    pairs[UInt32(truncatingIfNeeded: record.pointee.pair)]
  }

  // MARK: The ends

  func originator(_ record: UnsafeMutablePointer<Record>) -> Endpoint {
    guard record.pointee.marks.contains(.six) else {
      return endpoint(record.pointee.pair >> 32, record.pointee.originatorPort)
    }
    return endpoint(pair(record).pointee.originator, record.pointee.originatorPort)
  }

  func responder(_ record: UnsafeMutablePointer<Record>) -> Endpoint {
    guard record.pointee.marks.contains(.six) else {
      return endpoint(record.pointee.pair, record.pointee.responderPort)
    }
    return endpoint(pair(record).pointee.responder, record.pointee.responderPort)
  }

  private func endpoint(_ v4: UInt64, _ port: UInt16) -> Endpoint {
    Endpoint(address: IPAddress(v4: UInt32(truncatingIfNeeded: v4)), port: port)
  }

  private func endpoint(_ address: Segment.Address, _ port: UInt16) -> Endpoint {
    Endpoint(address: IPAddress(high: address.high, low: address.low), port: port)
  }

  /// The originator becomes the responder.
  func exchangeEnds(_ record: UnsafeMutablePointer<Record>) {
    record.pointee.ports = record.pointee.ports.halvesSwapped
    if record.pointee.marks.contains(.six) {
      let pair = pair(record)
      swap(&pair.pointee.originator, &pair.pointee.responder)
    } else {
      record.pointee.pair = record.pointee.pair.halvesSwapped
    }
  }

  // MARK: Looking up

  /// Asks for the entry that a look-up will begin with.
  @inline(__always)
  func fetchEntry(_ hash: UInt64) {
    clinux_prefetch(index + (Int(truncatingIfNeeded: hash) & mask))
  }

  /// Asks for what an ordinary packet needs of the connection that a look-up is likely to find.
  @inline(__always)
  func fetchRecord(_ hash: UInt64) {
    let entry = index[Int(truncatingIfNeeded: hash) & mask]
    if entry == 0 { return }
    let record = UnsafeRawPointer(records[UInt32(truncatingIfNeeded: entry)])
    clinux_prefetch(record)
    clinux_prefetch(record + 64)
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
        if record.pointee.ports == segment.pointee.ports,
          has(record, segment, originator: true)
        {
          return (number, true)
        }
        if record.pointee.ports == segment.pointee.ports.halvesSwapped,
          has(record, segment, originator: false)
        {
          return (number, false)
        }
      }
      slot = (slot &+ 1) & mask
    }
  }

  /// Whether the addresses are those of a segment from this side.
  @inline(__always)
  private func has(
    _ record: UnsafeMutablePointer<Record>, _ segment: UnsafePointer<Segment>, originator: Bool
  ) -> Bool {
    if segment.pointee.isSix || record.pointee.marks.contains(.six) {
      return hasSix(record, segment, originator: originator)
    }
    let pair = segment.pointee.pair
    return record.pointee.pair == (originator ? pair : pair.halvesSwapped)
  }

  private func hasSix(
    _ record: UnsafeMutablePointer<Record>, _ segment: UnsafePointer<Segment>, originator: Bool
  ) -> Bool {
    guard segment.pointee.isSix, record.pointee.marks.contains(.six) else { return false }
    let pair = pair(record)
    let (a, b) = (pair.pointee.originator, pair.pointee.responder)
    let (source, destination) = (segment.pointee.source, segment.pointee.destination)
    return originator ? a == source && b == destination : b == source && a == destination
  }

  // MARK: Change

  /// - Parameter flips: the segment's source is the responder.
  mutating func insert(
    _ record: Record, _ segment: UnsafePointer<Segment>, flips: Bool
  ) -> UInt32 {
    if (count + 1) * 5 > (mask + 1) * 2 { grow() }
    let number = records.take(record)
    let made = records[number]
    made.pointee.ports = segment.pointee.ports
    if segment.pointee.isSix {
      made.pointee.marks.insert(.six)
      let pair = AddressPair(
        originator: segment.pointee.source, responder: segment.pointee.destination)
      made.pointee.pair = UInt64(pairs.take(pair))
    } else {
      made.pointee.pair = segment.pointee.pair
    }
    if flips { exchangeEnds(made) }
    place(number, segment.pointee.hash)
    count += 1
    return number
  }

  mutating func remove(_ number: UInt32) {
    let record = records[number]
    var slot = Int(truncatingIfNeeded: hash(of: record)) & mask
    while index[slot] != 0, UInt32(truncatingIfNeeded: index[slot]) != number {
      slot = (slot &+ 1) & mask
    }
    guard index[slot] != 0 else { return }
    closeHole(slot)
    if record.pointee.marks.contains(.six) { pairs.giveBack(UInt32(truncatingIfNeeded: record.pointee.pair)) }
    record.pointee.id = 0
    record.pointee.marks = []
    record.pointee.plain = []
    records.giveBack(number)
    count -= 1
  }

  /// Moves up what stands behind a removed entry, so that no probe ends too early.
  private mutating func closeHole(_ removed: Int) {
    var hole = removed
    var slot = (hole + 1) & mask
    while index[slot] != 0 {
      let record = records[UInt32(truncatingIfNeeded: index[slot])]
      let home = Int(truncatingIfNeeded: hash(of: record)) & mask
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
      place(number, hash(of: records[number]))
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

extension FixedWidthInteger {
  /// Source and destination in each other's place.
  @inline(__always)
  var halvesSwapped: Self { self >> (Self.bitWidth / 2) | self << (Self.bitWidth / 2) }
}
