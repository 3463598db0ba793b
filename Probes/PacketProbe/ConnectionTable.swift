import CLinux
import Evidence

/// Finds a connection by its two ends, whichever direction a packet goes: open addressing with linear
/// probing over a power of two, at most two fifths full.
struct ConnectionTable: ~Copyable {
  var records: Pool<Record>
  var extras = Pool<Extras>()
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
  static func hash(pair: UInt64, ports: UInt32, isSix: Bool) -> UInt64 {
    let mixed = mix(
      (pair >> 32) << 16 | UInt64(ports >> 16), (pair & 0xffff_ffff) << 16 | UInt64(ports & 0xffff))
    // So that the digests of IPv6 addresses are never taken for IPv4 addresses.
    return isSix ? mixed ^ 0x5555_5555_5555_5555 : mixed
  }

  @inline(__always)
  private static func mix(_ a: UInt64, _ b: UInt64) -> UInt64 {
    let secret: UInt64 = 0xa076_1d64_78bd_642f
    let both = (a ^ secret).multipliedFullWidth(by: b ^ secret)
    let mixed = (both.high ^ both.low).multipliedFullWidth(by: 0x9e37_79b9_7f4a_7c15)
    return mixed.high ^ mixed.low
  }

  @inline(__always)
  static func hash(_ segment: UnsafePointer<Segment>) -> UInt64 {
    hash(
      pair: segment.pointee.pair, ports: segment.pointee.ports, isSix: segment.pointee.isSix)
  }

  static func hash(_ flow: Flow) -> UInt64 {
    var segment = Segment()
    segment.setAddresses(
      source: Segment.Address(flow.originator.address),
      destination: Segment.Address(flow.responder.address))
    return hash(
      pair: segment.pair, ports: UInt32(flow.originator.port) << 16 | UInt32(flow.responder.port),
      isSix: segment.isSix)
  }

  private func hash(of record: UnsafeMutablePointer<Record>) -> UInt64 {
    Self.hash(
      pair: record.pointee.pair, ports: record.pointee.ports,
      isSix: record.pointee.marks.contains(.six))
  }

  private func addresses(
    _ record: UnsafeMutablePointer<Record>
  ) -> UnsafePointer<AddressPair> {
    Self.addresses(extras[record.pointee.extras])
  }

  @inline(__always)
  private static func addresses(
    _ extras: UnsafeMutablePointer<Extras>
  ) -> UnsafePointer<AddressPair> {
    (UnsafeRawPointer(extras) + Extras.addressesOffset).assumingMemoryBound(to: AddressPair.self)
  }

  // MARK: The ends

  func originator(_ record: UnsafeMutablePointer<Record>) -> Endpoint {
    guard record.pointee.marks.contains(.six) else {
      return endpoint(record.pointee.pair >> 32, record.pointee.originatorPort)
    }
    return endpoint(addresses(record).pointee.originator, record.pointee.originatorPort)
  }

  func responder(_ record: UnsafeMutablePointer<Record>) -> Endpoint {
    guard record.pointee.marks.contains(.six) else {
      return endpoint(record.pointee.pair, record.pointee.responderPort)
    }
    return endpoint(addresses(record).pointee.responder, record.pointee.responderPort)
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
    record.pointee.pair = record.pointee.pair.halvesSwapped
    if record.pointee.marks.contains(.six) {
      let extras = extras[record.pointee.extras]
      swap(&extras.pointee.addresses.originator, &extras.pointee.addresses.responder)
    }
  }

  // MARK: Looking up

  /// The way to the connections, good until the table changes.
  struct View {
    fileprivate let index: UnsafeMutablePointer<UInt64>
    fileprivate let mask: Int
    fileprivate let records: Pool<Record>.BlockTable
    fileprivate let extras: Pool<Extras>.BlockTable

    /// Asks for the entry that a look-up will begin with.
    @inline(__always)
    func fetchEntry(_ hash: UInt64) {
      clinux_prefetch(index + (Int(truncatingIfNeeded: hash) & mask))
    }

    /// Asks for what an ordinary packet needs of the connection that a look-up is likely to find.
    @inline(__always)
    func fetchRecord(_ hash: UInt64) {
      // An entry that is free names no record, but a place that exists.
      let entry = index[Int(truncatingIfNeeded: hash) & mask]
      let record = UnsafeRawPointer(records[UInt32(truncatingIfNeeded: entry)])
      clinux_prefetch(record)
      clinux_prefetch(record + 64)
    }

    @inline(__always)
    func find(_ segment: UnsafePointer<Segment>) -> (number: UInt32, isOriginator: Bool) {
      let hash = segment.pointee.hash
      var slot = Int(truncatingIfNeeded: hash) & mask
      while true {
        let entry = index[slot]
        if (entry ^ hash) >> 32 == 0 {
          let record = records[UInt32(truncatingIfNeeded: entry)]
          // Which of the two it is follows no pattern: no branch may depend on it.
          let (ports, pair) = (segment.pointee.ports, segment.pointee.pair)
          let ahead = record.pointee.pair ^ pair | UInt64(record.pointee.ports ^ ports)
          let back =
            record.pointee.pair ^ pair.halvesSwapped
            | UInt64(record.pointee.ports ^ ports.halvesSwapped)
          if min(ahead, back) == 0,
            !segment.pointee.isSix || Self.isSame(extras, record, segment, ahead == 0)
          {
            return (UInt32(truncatingIfNeeded: entry), ahead == 0)
          }
        }
        if entry == 0 { return (0, false) }
        slot = (slot &+ 1) & mask
      }
    }

    /// Digests of IPv6 addresses may be equal where addresses are not.
    @inline(__always)
    private static func isSame(
      _ extras: Pool<Extras>.BlockTable, _ record: UnsafeMutablePointer<Record>,
      _ segment: UnsafePointer<Segment>, _ isOriginator: Bool
    ) -> Bool {
      guard record.pointee.marks.contains(.six) else { return false }
      let pair = ConnectionTable.addresses(extras[record.pointee.extras])
      let (source, destination) = (segment.pointee.source, segment.pointee.destination)
      let (a, b) = (pair.pointee.originator, pair.pointee.responder)
      return isOriginator ? a == source && b == destination : b == source && a == destination
    }
  }

  var view: View {
    View(
      index: index, mask: mask, records: records.blockTable, extras: extras.blockTable)
  }

  /// - Returns: the connection's number, and whether the segment's source is its originator; 0 when
  ///   it is not known.
  @inline(__always)
  func find(_ segment: UnsafePointer<Segment>) -> (number: UInt32, isOriginator: Bool) {
    view.find(segment)
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
    made.pointee.pair = segment.pointee.pair
    if segment.pointee.isSix {
      made.pointee.marks.insert(.six)
      var more = Extras()
      more.addresses = AddressPair(
        originator: segment.pointee.source, responder: segment.pointee.destination)
      made.pointee.extras = extras.take(more)
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
    if record.pointee.extras != 0 { extras.giveBack(record.pointee.extras) }
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
    // The newest takes the first place, and who stood there goes on: new connections are busy ones.
    var entry = hash & 0xffff_ffff_0000_0000 | UInt64(number)
    while entry != 0 {
      swap(&entry, &index[slot])
      slot = (slot &+ 1) & mask
    }
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
