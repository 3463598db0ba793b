import Evidence

/// How long connections had been idle when their next request began, by upstream.
///
/// Counted where exchanges are counted (`Tracker+Exchange`): plain HTTP/1, and other protocols in which
/// a turn of direction is an exchange. TLS, HTTP/2 and upgraded connections are left out, since who
/// speaks after a pause there need not begin a request.
struct ReuseTally {
  /// Responders beyond this number are not counted: nobody reads the what-if of thousands.
  private static let mostResponders = 4095
  /// Up to gaps of 2^40 ms.
  private static let buckets = 1 + 41 * 8

  private var numbers: [Endpoint: Int] = [:]
  private var responders: [Endpoint] = []
  private var counts: [UInt32] = []
  private var isTouched: [Bool] = []
  private var touched: [Int] = []

  var isEmpty: Bool { touched.isEmpty }

  /// A responder's number, from 1, or 0 when it is not counted. A connection remembers it when it fits
  /// into a byte.
  mutating func number(of responder: Endpoint) -> Int {
    if let known = numbers[responder] { return known }
    guard responders.count < Self.mostResponders else { return 0 }
    responders.append(responder)
    isTouched.append(false)
    counts.append(contentsOf: repeatElement(0, count: Self.buckets))
    numbers[responder] = responders.count
    return responders.count
  }

  mutating func count(_ number: Int, gap nanoseconds: Int64) {
    guard number > 0 else { return }
    let slot = number - 1
    let bucket = ReuseGaps.bucket(of: TimeSpan(nanoseconds: max(0, nanoseconds)))
    let place = slot * Self.buckets + min(bucket, Self.buckets - 1)
    if counts[place] != .max { counts[place] += 1 }
    if !isTouched[slot] {
      isTouched[slot] = true
      touched.append(slot)
    }
  }

  /// What was counted since the last time, in order of the responders.
  mutating func take() -> [ReuseGaps] {
    var taken: [ReuseGaps] = []
    for slot in touched {
      isTouched[slot] = false
      var gaps = ReuseGaps(responder: responders[slot])
      for bucket in 0..<Self.buckets where counts[slot * Self.buckets + bucket] > 0 {
        gaps.counts[bucket] = UInt64(counts[slot * Self.buckets + bucket])
        counts[slot * Self.buckets + bucket] = 0
      }
      taken.append(gaps)
    }
    touched.removeAll(keepingCapacity: true)
    return taken.sorted { $0.responder < $1.responder }
  }
}

extension Tracker {
  /// A request begins on a connection that had answered one: between the two it was idle.
  mutating func countReuse(
    _ record: UnsafeMutablePointer<Record>, idleSince last: Int64, _ segment: UnsafePointer<Segment>
  ) {
    var number = Int(record.pointee.reuse)
    if number == 0 {
      number = reuse.number(of: table.responder(record))
      record.pointee.reuse = UInt8(exactly: number) ?? 0
    }
    reuse.count(number, gap: segment.pointee.time &- last)
  }

  /// What was counted since the last time, and when that is.
  mutating func tellReuse(_ tell: (Timestamp, ReuseGaps) -> Void) {
    for gaps in reuse.take() { tell(Timestamp(nanoseconds: now), gaps) }
  }
}
