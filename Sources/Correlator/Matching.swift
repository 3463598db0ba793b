import Evidence

/// Finds the close of each pending error: a minimum-cost assignment per upstream, in which either
/// side may stay alone, and order is a soft cost.
///
/// An error competes for the closes that lie nearest to it in time, at most `reach` of them on either
/// side, so that the work grows with the number of errors and not with its square.
struct Matching {
  var closes: [Endpoint: CloseStore]
  var workers: (Flow) -> [ProcessIdentity]
  /// Connections that are not nginx's and need no explanation.
  var isForeign: (Connection) -> Bool
  /// The try that an error was, by the access log.
  var attempt: (Correlator.OpenError) -> UpstreamTry? = { _ in nil }

  /// Closes looked at before and after an error, by time. A worker that was stalled for seconds logs
  /// late, but on an upstream that closes dozens of connections in that time order must decide.
  static let reach = 24
  /// A stalled worker was measured 2 s late.
  static let window = TimeSpan.seconds(4)

  struct Match {
    var close: Connection?
    /// That this close is the right one, 0 to 1; without a close, that there is none.
    var confidence: Double
    var candidates: Int

    static let none = Match(close: nil, confidence: 1, candidates: 0)
  }

  /// The match of each error, by its id.
  func solve(_ pending: [Correlator.OpenError]) -> [Int: Match] {
    var result: [Int: Match] = [:]
    let byEndpoint = Dictionary(grouping: pending) { $0.line.upstream?.endpoint }
    for (endpoint, errors) in byEndpoint {
      guard let endpoint, let store = closes[endpoint] else { continue }
      result.merge(solve(errors, store)) { a, _ in a }
    }
    return result
  }

  private func solve(_ unsorted: [Correlator.OpenError], _ store: CloseStore) -> [Int: Match] {
    // Stable: what has the same time stays in the order of the log.
    let errors = unsorted.sorted { ($0.time.best, $0.id) < ($1.time.best, $1.id) }
    guard let first = errors.map(\.time.earliest).min(), let last = errors.map(\.time.latest).max()
    else { return [:] }
    let free = store.free(from: first - Self.window, to: last + Self.window)
      .filter { !isForeign($0) }
      .map { (close: $0, time: $0.closedAt ?? $0.lastPacket) }
      .sorted { ($0.time, $0.close.id) < ($1.time, $1.close.id) }
    let scores = score(errors, Candidates(free))
    var pairs: [Assignment.Pair] = []
    for (row, columns) in scores.enumerated() {
      for (column, score) in columns {
        pairs.append(.init(row: row, column: column, score: score - MatchScore.threshold))
      }
    }
    pairs.sort { ($0.row, $0.column) < ($1.row, $1.column) }
    let assignment = Assignment(rows: errors.count, columns: free.count, pairs: pairs)
    return matches(errors, free.map(\.close), scores, assignment)
  }

  /// The score of each error with each close that it competes for.
  private func score(
    _ errors: [Correlator.OpenError], _ candidates: Candidates
  ) -> [[Int: Double]] {
    let scorer = MatchScore(workerOf: workers)
    let free = candidates.free
    return errors.enumerated().map { row, error in
      var found: [Int: Double] = [:]
      let attempt = attempt(error)
      let list = candidates.list(for: error.line.message)
      func consider(_ column: Int) -> Bool {
        guard
          let score = scorer.score(
            error.line, at: error.time, free[column].close, attempt)
        else { return false }
        found[column] = score - orderCost(row, of: errors.count, column, of: free.count)
        return true
      }
      let middle = candidates.partition(list, at: error.time.best)
      var looked = 0
      var place = middle - 1
      while place >= 0, looked < Self.reach,
        error.time.earliest - free[list[place]].time < Self.window
      {
        if consider(list[place]) { looked += 1 }
        place -= 1
      }
      looked = 0
      place = middle
      while place < list.count, looked < Self.reach,
        free[list[place]].time - error.time.latest < Self.window
      {
        if consider(list[place]) { looked += 1 }
        place += 1
      }
      return found
    }
  }

  /// The closes that are free, in order of time, and which of them each kind of error can be about: on a
  /// busy nginx without keepalive most are its own, of which most errors say nothing.
  private struct Candidates {
    let free: [(close: Connection, time: Timestamp)]
    private let byOthers: [Int]
    private let byAll: [Int]

    init(_ free: [(close: Connection, time: Timestamp)]) {
      self.free = free
      byAll = Array(free.indices)
      byOthers = byAll.filter {
        let close = free[$0].close
        if close.requestAfterFIN || close.responderReset != nil { return true }
        return close.closer != .originator
          && !(CloseStore.isEarly(close) && close.exchanges != nil)
      }
    }

    func list(for message: NginxMessage) -> [Int] {
      switch message {
      case .prematurelyClosed, .recvFailed, .sendFailed, .bodyClosed, .bodyRecvFailed, .tlsClosed,
        .tlsTransferFailed, .connectFailed:
        byOthers
      default: byAll
      }
    }

    /// The place of the first close that is later than a moment.
    func partition(_ list: [Int], at time: Timestamp) -> Int {
      var (low, high) = (0, list.count)
      while low < high {
        let middle = (low + high) / 2
        if free[list[middle]].time <= time { low = middle + 1 } else { high = middle }
      }
      return low
    }
  }

  private func matches(
    _ errors: [Correlator.OpenError], _ free: [Connection], _ scores: [[Int: Double]],
    _ assignment: Assignment
  ) -> [Int: Match] {
    var rowOfColumn: [Int: Int] = [:]
    for (row, column) in assignment.columnOfRow.enumerated() {
      if let column { rowOfColumn[column] = row }
    }
    var result: [Int: Match] = [:]
    for (row, error) in errors.enumerated() {
      let column = assignment.columnOfRow[row]
      // Rivals are the closes that it could have had without making another error much worse off.
      var weight = ratio(decibans: MatchScore.threshold)
      var candidates = 0
      for (other, score) in scores[row].sorted(by: { $0.key < $1.key }) {
        var value = score
        if other != column, let holder = rowOfColumn[other] {
          let held = scores[holder][other] ?? 0
          let swapped = column.flatMap { scores[holder][$0] } ?? MatchScore.threshold
          value += min(0, swapped - held)
        }
        weight += ratio(decibans: value)
        if value > MatchScore.threshold { candidates += 1 }
      }
      if let column, let score = scores[row][column] {
        result[error.id] = Match(
          close: free[column], confidence: min(ratio(decibans: score) / weight, 0.999),
          candidates: candidates)
      } else {
        result[error.id] = Match(
          close: nil, confidence: ratio(decibans: MatchScore.threshold) / weight,
          candidates: candidates)
      }
    }
    return result
  }

  /// Both sides come nearly in order of time; within a batch of events nginx logs in the order of its
  /// loop, so order may decide between equals and no more: at most 2 decibans.
  private func orderCost(_ row: Int, of rows: Int, _ column: Int, of columns: Int) -> Double {
    guard rows > 1, columns > 1 else { return 0 }
    let place = Double(row) / Double(rows - 1) - Double(column) / Double(columns - 1)
    return 2 * abs(place)
  }
}
