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

  private var numbers: [Endpoint: Int] = [:]
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

  /// A responder's number, from 1, or 0 when it is not counted. A connection remembers it when it fits
  /// into a byte.
  mutating func number(of responder: Endpoint) -> Int {
    if let known = numbers[responder] { return known }
    guard responders.count < Self.mostResponders else { return 0 }
    responders.append(responder)
    gaps.grow()
    answers.grow()
    numbers[responder] = responders.count
    return responders.count
  }

  mutating func count(_ number: Int, gap nanoseconds: Int64) {
    guard number > 0 else { return }
    gaps.count(number - 1, nanoseconds)
  }

  mutating func count(_ number: Int, answer nanoseconds: Int64) {
    guard number > 0 else { return }
    answers.count(number - 1, nanoseconds)
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
    let number = reuseNumber(record)
    reuse.count(number, gap: segment.pointee.time &- last)
  }

  /// What was counted since the last time, and when that is.
  mutating func tellReuse(
    _ gaps: ((Timestamp, ReuseGaps) -> Void)?, _ answers: ((Timestamp, ResponseTimes) -> Void)?
  ) {
    let time = Timestamp(nanoseconds: now)
    for taken in reuse.take() { gaps?(time, taken) }
    for taken in reuse.takeAnswers() { answers?(time, taken) }
  }

  /// An answer begins.
  mutating func countAnswer(
    _ record: UnsafeMutablePointer<Record>, _ segment: UnsafePointer<Segment>
  ) {
    let number = reuseNumber(record)
    reuse.count(number, answer: segment.pointee.time &- record.pointee.requestTime)
  }

  private mutating func reuseNumber(_ record: UnsafeMutablePointer<Record>) -> Int {
    let known = Int(record.pointee.reuse)
    guard known == 0 else { return known }
    let number = reuse.number(of: table.responder(record))
    record.pointee.reuse = UInt8(exactly: number) ?? 0
    return number
  }
}
