import Testing

@testable import Correlator

@Suite struct AssignmentTests {
  @Test func `the total is what trying everything finds`() {
    var seed: UInt64 = 7
    func random(_ bound: Int) -> Int {
      seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(seed >> 33) % bound
    }
    for _ in 0..<300 {
      let (rows, columns) = (1 + random(5), 1 + random(5))
      var pairs: [Assignment.Pair] = []
      for row in 0..<rows {
        for column in 0..<columns where random(3) > 0 {
          pairs.append(.init(row: row, column: column, score: Double(random(40) - 10)))
        }
      }
      let solved = Assignment(rows: rows, columns: columns, pairs: pairs)
      #expect(total(solved.columnOfRow, pairs) == best(0, rows, [], pairs))
      let used = solved.columnOfRow.compactMap { $0 }
      #expect(Set(used).count == used.count)
    }
  }

  @Test func `nothing to assign is no error`() {
    #expect(Assignment(rows: 0, columns: 0, pairs: []).columnOfRow == [])
    #expect(Assignment(rows: 2, columns: 0, pairs: []).columnOfRow == [nil, nil])
  }

  private func total(_ columns: [Int?], _ pairs: [Assignment.Pair]) -> Double {
    var sum = 0.0
    for (row, column) in columns.enumerated() {
      if let column { sum += pairs.first { $0.row == row && $0.column == column }?.score ?? -1e6 }
    }
    return sum
  }

  private func best(
    _ row: Int, _ rows: Int, _ taken: Set<Int>, _ pairs: [Assignment.Pair]
  ) -> Double {
    guard row < rows else { return 0 }
    var value = best(row + 1, rows, taken, pairs)
    for pair in pairs where pair.row == row && !taken.contains(pair.column) {
      value = max(value, pair.score + best(row + 1, rows, taken.union([pair.column]), pairs))
    }
    return value
  }
}
