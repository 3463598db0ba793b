import Evidence

/// Finds the close of each pending error: a minimum-cost assignment per upstream, in which either
/// side may stay alone, and order is a soft cost.
struct Matching {
  var pending: [Correlator.OpenError]
  var closes: [Endpoint: CloseStore]
  var workers: (Flow) -> [ProcessIdentity]
  /// Connections that are not nginx's and need no explanation.
  var isForeign: (Connection) -> Bool

  struct Match {
    var close: Connection?
    /// That this close is the right one, 0 to 1; without a close, that there is none.
    var confidence: Double
    var candidates: Int

    static let none = Match(close: nil, confidence: 1, candidates: 0)
  }

  /// The match of each error, by its id.
  func solve() -> [Int: Match] {
    var result: [Int: Match] = [:]
    let byEndpoint = Dictionary(grouping: pending) { $0.line.upstream?.endpoint }
    for (endpoint, errors) in byEndpoint {
      guard let endpoint else { continue }
      result.merge(solve(errors, closes[endpoint] ?? CloseStore())) { a, _ in a }
    }
    return result
  }

  private func solve(_ errors: [Correlator.OpenError], _ store: CloseStore) -> [Int: Match] {
    let reach = TimeSpan.seconds(4)
    let first = (errors.map(\.time.earliest).min() ?? Timestamp(nanoseconds: 0)) - reach
    let last = (errors.map(\.time.latest).max() ?? Timestamp(nanoseconds: 0)) + reach
    let free = store.entries.filter {
      $0.incident == nil && $0.connection.lastPacket > first && $0.connection.firstPacket < last
        && !isForeign($0.connection)
    }.map(\.connection)
    let scorer = MatchScore(workerOf: workers)
    var scores: [[Int: Double]] = Array(repeating: [:], count: errors.count)
    var pairs: [Assignment.Pair] = []
    for (row, error) in errors.enumerated() {
      for (column, close) in free.enumerated() {
        guard var score = scorer.score(error.line, at: error.time, close) else { continue }
        score -= orderCost(row, of: errors.count, column, of: free.count)
        scores[row][column] = score
        pairs.append(.init(row: row, column: column, score: score - MatchScore.threshold))
      }
    }
    let assignment = Assignment(rows: errors.count, columns: free.count, pairs: pairs)
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
      for (other, score) in scores[row] {
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
