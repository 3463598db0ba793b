/// The assignment of rows to columns with the highest total score, where either may stay alone at no
/// cost: pairs with a score of zero or less are never made.
///
/// Rows and columns are split into connected components first, so that the cost follows the size of
/// what really competes. A component is solved exactly (Hungarian method with potentials, cubic);
/// one of more than `exactLimit` rows is solved greedily, best pair first, and said to be so.
struct Assignment {
  /// The column of each row, or nil.
  private(set) var columnOfRow: [Int?]
  /// Rows whose component was too large to be solved exactly.
  private(set) var approximateRows: Set<Int> = []

  static let exactLimit = 60

  struct Pair: Hashable {
    var row: Int
    var column: Int
    var score: Double
  }

  init(rows: Int, columns: Int, pairs: [Pair]) {
    columnOfRow = Array(repeating: nil, count: rows)
    let useful = pairs.filter { $0.score > 0 }
    for component in Self.components(rows: rows, columns: columns, pairs: useful) {
      let count = Set(component.map(\.row)).count
      if count > Self.exactLimit {
        solveGreedily(component)
      } else {
        solveExactly(component)
      }
    }
  }

  private static func components(rows: Int, columns: Int, pairs: [Pair]) -> [[Pair]] {
    var parent = Array(0..<rows + columns)
    func root(_ node: Int) -> Int {
      var node = node
      while parent[node] != node {
        parent[node] = parent[parent[node]]
        node = parent[node]
      }
      return node
    }
    for pair in pairs { parent[root(pair.row)] = root(rows + pair.column) }
    var groups: [Int: [Pair]] = [:]
    for pair in pairs { groups[root(pair.row), default: []].append(pair) }
    return groups.values.sorted { ($0[0].row, $0[0].column) < ($1[0].row, $1[0].column) }
  }

  private mutating func solveGreedily(_ pairs: [Pair]) {
    var taken: Set<Int> = []
    for pair in pairs.sorted(by: { ($1.score, $0.row, $0.column) < ($0.score, $1.row, $1.column) })
    where columnOfRow[pair.row] == nil && taken.insert(pair.column).inserted {
      columnOfRow[pair.row] = pair.column
    }
    approximateRows.formUnion(pairs.map(\.row))
  }

  /// Each row gets a dummy column of its own with score zero: staying alone.
  private mutating func solveExactly(_ pairs: [Pair]) {
    let rows = Set(pairs.map(\.row)).sorted()
    let columns = Set(pairs.map(\.column)).sorted()
    let rowIndex = Dictionary(uniqueKeysWithValues: zip(rows, rows.indices))
    let columnIndex = Dictionary(uniqueKeysWithValues: zip(columns, columns.indices))
    let width = columns.count + rows.count
    // Costs are negated scores; a pair that does not exist must never be worth it.
    let impossible = 1e9
    var cost = Array(
      repeating: Array(repeating: impossible, count: width), count: rows.count)
    for pair in pairs {
      guard let row = rowIndex[pair.row], let column = columnIndex[pair.column] else { continue }
      cost[row][column] = min(cost[row][column], -pair.score)
    }
    for row in rows.indices { cost[row][columns.count + row] = 0 }
    for (row, column) in Self.hungarian(cost).enumerated() where column < columns.count {
      columnOfRow[rows[row]] = columns[column]
    }
  }

  /// Minimum-cost assignment of every row (rows <= columns), by shortest augmenting paths.
  /// - Returns: the column of each row.
  private static func hungarian(_ cost: [[Double]]) -> [Int] {
    let rowCount = cost.count
    let columnCount = cost.first?.count ?? 0
    var rowPotential = Array(repeating: 0.0, count: rowCount + 1)
    var columnPotential = Array(repeating: 0.0, count: columnCount + 1)
    // Row matched to each column, both from 1; 0 is "none".
    var rowOfColumn = Array(repeating: 0, count: columnCount + 1)
    for row in 1...max(rowCount, 1) where row <= rowCount {
      rowOfColumn[0] = row
      var way = Array(repeating: 0, count: columnCount + 1)
      var slack = Array(repeating: Double.infinity, count: columnCount + 1)
      var visited = Array(repeating: false, count: columnCount + 1)
      var column = 0
      repeat {
        visited[column] = true
        let current = rowOfColumn[column]
        var best = Double.infinity
        var next = 0
        for candidate in 1...columnCount where !visited[candidate] {
          let reduced =
            cost[current - 1][candidate - 1] - rowPotential[current] - columnPotential[candidate]
          if reduced < slack[candidate] {
            slack[candidate] = reduced
            way[candidate] = column
          }
          if slack[candidate] < best {
            best = slack[candidate]
            next = candidate
          }
        }
        for candidate in 0...columnCount {
          if visited[candidate] {
            rowPotential[rowOfColumn[candidate]] += best
            columnPotential[candidate] -= best
          } else {
            slack[candidate] -= best
          }
        }
        column = next
      } while rowOfColumn[column] != 0
      while column != 0 {
        rowOfColumn[column] = rowOfColumn[way[column]]
        column = way[column]
      }
    }
    var result = Array(repeating: 0, count: rowCount)
    for column in 1...max(columnCount, 1) where column <= columnCount && rowOfColumn[column] > 0 {
      result[rowOfColumn[column] - 1] = column - 1
    }
    return result
  }
}
