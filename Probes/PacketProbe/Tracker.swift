import CaptureFile
import Evidence

/// Follows TCP connections packet by packet, as Zeek does, and tells how each one ended.
///
/// Time comes from the packets and from `advance(to:)` only. Zeek's rules are those of
/// src/packet_analysis/protocol/tcp/TCPSessionAdapter.cc, src/analyzer/protocol/tcp/TCP_Endpoint.cc
/// and TCP_Reassembler.cc; what is ours (closer, manner, phase, exchanges) is in the files `Tracker+…`
/// of these names.
struct Tracker: ~Copyable {
  var options: TrackerOptions
  var counters = TrackerCounters()
  var table = ConnectionTable()
  var endings = Pool<Ending>()
  var ranges = Pool<OutOfOrder>()
  var lines = RequestLines()
  var timers = Timers()
  var duplicates: DuplicateFilter
  /// History letters beyond those that a record holds.
  var longHistories: [UInt32: [UInt8]] = [:]
  /// The oldest idle connections when the table was last found full, oldest last.
  var evictionQueue: [(last: Int64, id: UInt64, number: UInt32)] = []
  /// The latest time seen; it never goes back.
  var now: Int64 = .min
  var nextID: UInt64 = 1
  /// Since when every packet is handed in; `.max` while only SYN, FIN and RST are (`Tracker+Light`).
  var headersSince = Int64.min
  /// Ends that were not told one by one (`Tracker+Ordinary`).
  var ordinary = OrdinaryTally()
  /// Idle times before a reuse, when somebody asks for them (`TrackerOptions.countsReuse`).
  var reuse = ReuseTally()
  let report: (Connection) -> Void
  /// Keeps headers for incidents and recordings; nil where nobody wants them.
  let keeper: HeaderKeeper?
  /// The packets at hand. They stay in one place: copies of them would cost as much as their decoding.
  private let segments: UnsafeMutablePointer<Segment>
  private static var batchSize: Int { 32 }

  /// - Parameters:
  ///   - keeper: gets each packet of a connection, and each connection before `report`.
  ///   - report: gets each connection, in the thread that calls `process` or `advance`.
  init(
    options: TrackerOptions, keeper: HeaderKeeper? = nil, report: @escaping (Connection) -> Void
  ) {
    self.options = options
    self.keeper = keeper
    self.report =
      keeper.map { keeper in
        {
          keeper.told($0)
          report($0)
        }
      } ?? report
    duplicates = DuplicateFilter(window: options.duplicateWindow)
    segments = .allocate(capacity: Self.batchSize)
    for place in 0..<Self.batchSize { (segments + place).initialize(to: Segment()) }
  }

  deinit {
    segments.deallocate()
  }

  /// Takes one packet.
  mutating func process(_ packet: CapturedPacket) {
    withUnsafePointer(to: packet) { process(UnsafeBufferPointer(start: $0, count: 1)) }
  }

  /// Takes several packets. While they are decoded, the table's entries for those before are on their
  /// way from memory, and so are the connections of all before the first is looked at.
  mutating func process(_ batch: UnsafeBufferPointer<CapturedPacket>) {
    guard var packet = batch.baseAddress else { return }
    let isAlone = keeper == nil
    var left = batch.count
    while left > 0 {
      let count = min(left, Self.batchSize)
      decode(packet, count)
      var segment = segments
      let end = segment + count
      while segment < end {
        if isAlone, segment.pointee.isPlain, !duplicates.severalInterfaces {
          follow(segment)
        } else {
          take(segment, packet.pointee)
        }
        segment += 1
        packet += 1
      }
      counters.packets &+= UInt64(count)
      left &-= count
    }
  }

  @inline(__always)
  private func decode(_ packets: UnsafePointer<CapturedPacket>, _ count: Int) {
    let view = table.view
    var packet = packets
    var segment = segments
    let end = segment + count
    while segment < end {
      if Decoder.decodeOrdinary(packet, segment) || Decoder.decodeOther(packet, segment) {
        let hash = ConnectionTable.hash(segment)
        segment.pointee.hash = hash
        view.fetchEntry(hash)
      }
      segment += 1
      packet += 1
    }
    segment = segments
    while segment < end {
      if segment.pointee.isPlain { view.fetchRecord(segment.pointee.hash) }
      segment += 1
    }
  }

  @inline(never)
  private mutating func take(_ segment: UnsafeMutablePointer<Segment>, _ packet: CapturedPacket) {
    switch segment.pointee.kind {
    case .segment:
      if duplicates.isDuplicate(segment, packet) {
        counters.duplicates &+= 1
        return
      }
      if let keeper { keeper.keep(segment, packet) }
      moveTime(to: packet.time)
      let (number, isOriginator) = table.find(segment)
      if number == 0 || !followOrdinary(number, table.records[number], isOriginator, segment) {
        followOther(segment)
      } else {
        counters.segments &+= 1
      }
      return
    case .notIP: counters.notIP &+= 1
    case .notTCP: counters.notTCP &+= 1
    case .fragment: counters.fragments &+= 1
    case .tunnel(.vxlan): counters.vxlan &+= 1
    case .tunnel(.gre): counters.gre &+= 1
    case .tunnel(.ipInIP): counters.ipInIP &+= 1
    case .truncated: counters.truncated &+= 1
    case .malformed: counters.malformed &+= 1
    case .badHeader:
      counters.malformed &+= 1
      meetBadHeader(segment)
    case .unknownLink: counters.unknownLink &+= 1
    }
    moveTime(to: packet.time)
  }

  /// Lets time pass without a packet.
  mutating func advance(to time: Int64) { moveTime(to: time) }

  /// Tells what is still open, in order of the first packet, and forgets everything.
  mutating func finish() {
    for number in table.numbersByAge { end(number, .finished) }
  }

  @inline(__always)
  private mutating func moveTime(to time: Int64) {
    if time > now {
      now = time
      if timers.next <= time { runTimers() }
    }
  }

  @inline(__always)
  private mutating func follow(_ segment: UnsafePointer<Segment>) {
    moveTime(to: segment.pointee.time)
    let (number, isOriginator) = table.find(segment)
    if number != 0, followOrdinary(number, table.records[number], isOriginator, segment) {
      counters.segments &+= 1
    } else {
      followOther(segment)
    }
  }

  @inline(never)
  private mutating func followOther(_ segment: UnsafePointer<Segment>) {
    var (number, isOriginator) = table.find(segment)
    if number != 0, segment.pointee.flags.contains(.syn), isReuse(number, segment) {
      end(number, .reused)
      number = 0
    }
    if number == 0 {
      guard let begun = begin(segment) else {
        counters.otherTCP &+= 1
        return
      }
      (number, isOriginator) = begun
    }
    counters.segments &+= 1
    update(number, isOriginator, segment)
  }

  /// A packet whose TCP header is wrong begins a connection, and counts for none (Zeek looks at the
  /// header's length only after it has found or made the connection: `ExtractTCP_Header`).
  private mutating func meetBadHeader(_ segment: UnsafePointer<Segment>) {
    moveTime(to: segment.pointee.time)
    if table.find(segment).number == 0 { _ = begin(segment) }
  }

  // MARK: The beginning of a connection

  /// A SYN that is not a retransmission starts a new connection on the same tuple, and so does a
  /// SYN-ACK where no originator was seen (`TCPSessionAdapter::IsReuse`).
  private func isReuse(_ number: UInt32, _ segment: UnsafePointer<Segment>) -> Bool {
    let record = table.records[number]
    let answers = segment.pointee.flags.contains(.ack)
    if answers, record.pointee.originator.state != .inactive { return false }
    let starting = answers ? record.pointee.responder : record.pointee.originator
    let closed =
      record.pointee.originator.marks.contains(.closed)
      || record.pointee.responder.marks.contains(.closed)
    if closed { return true }
    if segment.pointee.sequence == starting.start { return false }
    // SYN and SYN-ACK in the wrong order.
    if !answers, starting.state == .synAckSent, record.pointee.responder.state == .inactive,
      segment.pointee.sequence == record.pointee.responder.start
    {
      return false
    }
    return true
  }

  private mutating func begin(
    _ segment: UnsafePointer<Segment>
  ) -> (number: UInt32, isOriginator: Bool)? {
    guard let flips = roles(segment) else { return nil }
    if table.count >= options.maximumConnections { evict() }
    var record = Record(
      id: nextID, time: segment.pointee.time, expire: now &+ options.synTimeout.nanoseconds)
    record.marks = .active
    if headersSince == .max { Self.makeLight(&record) }
    nextID += 1
    counters.connections &+= 1
    let number = table.insert(record, segment, flips: flips)
    if flips { addHistory(number, UInt8(ascii: "^")) }
    schedule(number)
    return (number, !flips)
  }

  /// Whether the segment's source is the responder of a connection that starts with it; nil when the
  /// connection is not to be followed.
  ///
  /// A SYN comes from the originator. Else it is the other end of a watched upstream, or what Zeek
  /// takes (`TCPAnalyzer::WantConnection`): the side that has no likely server's port.
  private func roles(_ segment: UnsafePointer<Segment>) -> Bool? {
    let isSYN = segment.pointee.flags.contains(.syn)
    let isOpening = isSYN && !segment.pointee.flags.contains(.ack)
    if let upstreams = options.upstreams {
      if upstreams.contains(segment.pointee.destination, segment.pointee.destinationPort) {
        return false
      }
      if isOpening { return nil }
      return upstreams.contains(segment.pointee.source, segment.pointee.sourcePort) ? true : nil
    }
    if isOpening || !ServerPorts.contains(segment.pointee.sourcePort) { return false }
    if ServerPorts.contains(segment.pointee.destinationPort) {
      return !isSYN && segment.pointee.sourcePort < segment.pointee.destinationPort
    }
    return true
  }
}
