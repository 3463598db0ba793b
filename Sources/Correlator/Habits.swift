import Evidence

/// What a backend does by itself, measured from how its connections end: after how much idle time it
/// closes, after how many requests, how long it lets a request run, and how large it lets one be.
struct Habits: Sendable {
  /// Idle time before its closes.
  private(set) var idle = Crowd()
  /// How old unanswered requests were when their connection was closed. Masters look at their workers
  /// about once a second (gunicorn's arbiter, uWSGI's and php-fpm's master), so ages differ by that.
  private(set) var age = Crowd(width: .milliseconds(1200), shortest: .seconds(1))

  /// How many requests a connection had served when the backend closed it right after an answer.
  private var servedAtClose: [Int: Int] = [:]
  /// How often connections ended after so many requests, whoever closed: what fewer per connection
  /// would cost.
  private(set) var served: [Int: Int] = [:]

  /// Requests that were answered on connections that have ended.
  private(set) var answered = 0
  private var answeredSizes = 0
  private var largestAnswered: UInt64?
  private var failedSizes: [UInt64] = []

  /// Idle time and number of requests at nginx's own closes; a sample.
  private(set) var nginxCloses: [(idle: TimeSpan, served: Int?)] = []
  /// When connections began and ended; the latest.
  private var lives: [(start: Timestamp, end: Timestamp)] = []
  private(set) var isLivesCut = false

  /// A close so soon after an answer is not an idle timer's.
  static let atOnce = TimeSpan.milliseconds(50)

  mutating func add(_ connection: Connection) {
    addServed(connection)
    addLife(connection)
    guard let closed = connection.closedAt else { return }
    if connection.closer == .originator, connection.phase == .idle,
      let idle = connection.idleBeforeClose, connection.originatorReset == nil
    {
      if nginxCloses.count >= 4000 { nginxCloses.removeFirst(2000) }
      nginxCloses.append((idle, connection.exchanges))
    }
    addSize(connection)
    guard connection.closer == .responder else { return }
    if connection.phase == .idle, connection.manner == .fin, connection.exchanges != 0,
      let gap = connection.idleBeforeClose, gap > Self.atOnce
    {
      idle.add(gap)
    }
    if connection.phase == .awaitingResponse, !connection.requestAfterFIN,
      let sent = connection.requestSentAt, closed - sent >= .seconds(1)
    {
      age.add(closed - sent)
    }
  }

  /// The requests that a connection served: what came after the FIN was not.
  static func served(_ connection: Connection) -> Int? {
    guard connection.sawStart, let exchanges = connection.exchanges else { return nil }
    let isUnanswered = connection.requestAfterFIN || connection.phase != .idle
    return max(0, isUnanswered ? exchanges - 1 : exchanges)
  }

  private mutating func addServed(_ connection: Connection) {
    guard connection.closedAt != nil, let served = Self.served(connection), served > 0 else {
      return
    }
    answered += served
    if self.served.count < 4096 || self.served[served] != nil {
      self.served[served, default: 0] += 1
    }
    guard connection.closer == .responder, connection.manner == .fin, connection.phase == .idle,
      connection.idleBeforeClose.map({ $0 <= .seconds(1) }) ?? false
    else { return }
    if servedAtClose.count < 4096 || servedAtClose[served] != nil {
      servedAtClose[served, default: 0] += 1
    }
  }

  /// The number of requests after which it closes: at least three connections ended right after the
  /// same number of answers, and so did half of all that were closed so; hardly any served more. (One, and
  /// it is no limit: it keeps no connections at all.)
  var requestLimit: CountEstimate? {
    guard let (value, count) = servedAtClose.max(by: { ($0.value, $0.key) < ($1.value, $1.key) }),
      value > 1, count >= 3
    else { return nil }
    // A limit holds for all, but may have been set while it was watched.
    let reached = served.reduce(0) { $1.key >= value ? $0 + $1.value : $0 }
    let exceeded = served.reduce(0) { $1.key > value ? $0 + $1.value : $0 }
    guard exceeded * 5 <= reached else { return nil }
    let all = servedAtClose.values.reduce(0, +)
    return count * 2 >= all ? CountEstimate(value: value, count: count, of: all) : nil
  }

  /// Requests that were refused for their size are closed at once, and unanswered.
  private mutating func addSize(_ connection: Connection) {
    guard let bytes = connection.requestBytes, bytes > 0, !connection.requestAfterFIN else {
      return
    }
    let isAnswered = connection.phase == .idle && (connection.responseBytes ?? 0) > 0
    if isAnswered {
      answeredSizes += 1
      largestAnswered = max(largestAnswered ?? 0, bytes)
      return
    }
    guard connection.closer == .responder, connection.closedAt != nil, Self.isAtOnce(connection)
    else { return }
    if failedSizes.count >= 4000 { failedSizes.removeFirst(2000) }
    failedSizes.append(bytes)
  }

  static func isAtOnce(_ connection: Connection) -> Bool {
    guard let sent = connection.requestSentAt, let closed = connection.closedAt else {
      return false
    }
    // The rest of a large body may still be on its way.
    return closed - sent < .milliseconds(200)
      && (connection.phase == .awaitingResponse || connection.phase == .sendingRequest
        || connection.phase == .receivingResponse)
  }

  /// The size above which requests fail, where those that failed are all larger than those that were
  /// answered, and that is hardly chance.
  var sizeThreshold: SizeThreshold? {
    guard failedSizes.count >= 2, let smallest = failedSizes.min(), let largest = failedSizes.max()
    else { return nil }
    if let largestAnswered, largestAnswered >= smallest { return nil }
    guard answeredSizes > 0 else { return nil }
    let ways = logChoose(answeredSizes + failedSizes.count, failedSizes.count)
    let chance = ratio(decibans: -ways * 10 / 2.302585092994046)
    guard chance < 0.01 else { return nil }
    return SizeThreshold(
      largestAnswered: largestAnswered, smallestFailed: smallest, largestFailed: largest,
      answered: answeredSizes, failed: failedSizes.count, chance: chance)
  }

  private mutating func addLife(_ connection: Connection) {
    guard let closed = connection.closedAt, connection.manner != .refused,
      connection.phase != .connecting
    else { return }
    if lives.count >= 20_000 {
      lives.removeFirst(10_000)
      isLivesCut = true
    }
    lives.append((connection.firstPacket, closed))
  }

  /// The most connections that were open at once, of those that have ended; nil: none has.
  var mostOpen: Int? {
    guard !lives.isEmpty else { return nil }
    // An end before a start of the same moment.
    let steps = lives.flatMap { [($0.start, 1), ($0.end, -1)] }.sorted { $0 < $1 }
    var (open, most) = (0, 0)
    for (_, step) in steps {
      open += step
      most = max(most, open)
    }
    return most
  }
}
