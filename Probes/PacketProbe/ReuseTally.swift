import Evidence

/// How long connections had been idle when their next request began, and how long answers took to
/// begin, by upstream.
///
/// Counted where exchanges are counted (`Tracker+Exchange`): plain HTTP/1, and other protocols in which
/// a turn of direction is an exchange. TLS, HTTP/2 and upgraded connections are left out, since who
/// speaks after a pause there need not begin a request.
struct ReuseTally {
  /// Responders beyond this number are not counted: nobody reads the what-if of thousands.
  private static let mostResponders = 4095
  /// Up to gaps of 2^40 ms.
  private static let buckets = 1 + 41 * 8
  /// What a record holds when its responder is not counted.
  static let uncounted = UInt16.max

  private var numbers: [Endpoint: UInt16] = [:]
  private var responders: [Endpoint] = []
  private var gaps = Histograms()
  private var answers = Histograms()

  /// A histogram a responder, in one piece.
  private struct Histograms {
    var counts: [UInt32] = []
    var isTouched: [Bool] = []
    var touched: [Int] = []

    mutating func grow() {
      isTouched.append(false)
      counts.append(contentsOf: repeatElement(0, count: ReuseTally.buckets))
    }

    mutating func count(_ slot: Int, _ nanoseconds: Int64) {
      let bucket = ReuseGaps.bucket(of: TimeSpan(nanoseconds: max(0, nanoseconds)))
      let place = slot * ReuseTally.buckets + min(bucket, ReuseTally.buckets - 1)
      if counts[place] != .max { counts[place] += 1 }
      if !isTouched[slot] {
        isTouched[slot] = true
        touched.append(slot)
      }
    }

    /// What was counted since the last time.
    mutating func take() -> [(slot: Int, counts: [Int: UInt64])] {
      var taken: [(slot: Int, counts: [Int: UInt64])] = []
      for slot in touched {
        isTouched[slot] = false
        var found: [Int: UInt64] = [:]
        for bucket in 0..<ReuseTally.buckets where counts[slot * ReuseTally.buckets + bucket] > 0 {
          found[bucket] = UInt64(counts[slot * ReuseTally.buckets + bucket])
          counts[slot * ReuseTally.buckets + bucket] = 0
        }
        taken.append((slot, found))
      }
      touched.removeAll(keepingCapacity: true)
      return taken
    }
  }

  var isEmpty: Bool { gaps.touched.isEmpty && answers.touched.isEmpty }

  /// A responder's number, from 1, or `uncounted`: asked once a connection.
  mutating func number(of responder: Endpoint) -> UInt16 {
    if let known = numbers[responder] { return known }
    guard responders.count < Self.mostResponders else { return Self.uncounted }
    responders.append(responder)
    gaps.grow()
    answers.grow()
    let number = UInt16(responders.count)
    numbers[responder] = number
    return number
  }

  mutating func count(_ number: UInt16, gap nanoseconds: Int64) {
    guard number != Self.uncounted, number > 0 else { return }
    gaps.count(Int(number) - 1, nanoseconds)
  }

  mutating func count(_ number: UInt16, answer nanoseconds: Int64) {
    guard number != Self.uncounted, number > 0 else { return }
    answers.count(Int(number) - 1, nanoseconds)
  }

  /// What was counted since the last time, in order of the responders.
  mutating func take() -> [ReuseGaps] {
    gaps.take().map { ReuseGaps(responder: responders[$0.slot], counts: $0.counts) }
      .sorted { $0.responder < $1.responder }
  }

  /// How long answers took, in order of the responders.
  mutating func takeAnswers() -> [ResponseTimes] {
    answers.take().map { ResponseTimes(responder: responders[$0.slot], counts: $0.counts) }
      .sorted { $0.responder < $1.responder }
  }
}

extension Tracker {
  /// A request begins on a connection that had answered one: between the two it was idle.
  mutating func countReuse(
    _ record: UnsafeMutablePointer<Record>, idleSince last: Int64, _ segment: UnsafePointer<Segment>
  ) {
    number(record)
    reuse.count(record.pointee.reuse, gap: segment.pointee.time &- last)
  }

  /// An answer begins.
  mutating func countAnswer(
    _ record: UnsafeMutablePointer<Record>, _ segment: UnsafePointer<Segment>
  ) {
    number(record)
    reuse.count(
      record.pointee.reuse,
      answer: segment.pointee.time &- record.pointee.exchange.requestTime)
  }

  private mutating func number(_ record: UnsafeMutablePointer<Record>) {
    guard record.pointee.reuse == 0 else { return }
    record.pointee.reuse = reuse.number(
      of: Endpoint(
        address: IPAddress(
          high: record.pointee.responderAddress.high, low: record.pointee.responderAddress.low),
        port: record.pointee.responderPort))
  }
}
