// Summarises the results of `run`: medians, and what each variant costs against nothing and against the
// tcpdump that it must not exceed, as the median of the paired ratios (a round is a pair) with a 95 %
// confidence interval by bootstrap over the rounds.
import Glibc

struct Row {
  var kind: String
  var round: Int
  var variant: String
  var rate, p99, cpu, seen, dropped, cost: Double
}

func readRows(_ path: String) -> [Row] {
  guard let file = fopen(path, "r") else { return [] }
  defer { fclose(file) }
  var rows: [Row] = []
  while let line = readLine(from: file) {
    let fields = line.split(separator: "\t")
    guard fields.count == 9 else { continue }
    let numbers = fields[3...].compactMap { Double($0) }
    guard numbers.count == 6, let round = Int(fields[1]) else { continue }
    rows.append(
      Row(
        kind: String(fields[0]), round: round, variant: String(fields[2]), rate: numbers[0],
        p99: numbers[1], cpu: numbers[2], seen: numbers[3], dropped: numbers[4],
        cost: numbers[5]))
  }
  return rows
}

func readLine(from file: UnsafeMutablePointer<FILE>) -> String? {
  var line: UnsafeMutablePointer<CChar>?
  var capacity = 0
  defer { free(line) }
  let count = getline(&line, &capacity, file)
  guard count > 0, let line else { return nil }
  return String(cString: line).split(separator: "\n").first.map(String.init)
}

func median(_ values: [Double]) -> Double {
  let sorted = values.sorted()
  guard !sorted.isEmpty else { return .nan }
  let middle = sorted.count / 2
  return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/// The same numbers each time, so that a table can be made again from its raw results.
struct Generator: RandomNumberGenerator {
  var state: UInt64 = 1
  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    let mixed = (state ^ state >> 33) &* 0xff51_afd7_ed55_8ccd
    return mixed ^ mixed >> 33
  }
}

/// The 95 % interval of the median, by drawing the values anew 10,000 times.
func interval(_ values: [Double]) -> (low: Double, high: Double) {
  guard values.count > 1 else { return (.nan, .nan) }
  var generator = Generator()
  let medians = (0..<10_000).map { _ in
    median(values.map { _ in values[Int.random(in: 0..<values.count, using: &generator)] })
  }.sorted()
  return (medians[250], medians[9749])
}

func fixed(_ value: Double, _ digits: Int) -> String {
  guard value.isFinite else { return "-" }
  var scale = 1.0
  for _ in 0..<digits { scale *= 10 }
  let rounded = Int((value.magnitude * scale).rounded())
  var text = "\(rounded / Int(scale))"
  if digits > 0 {
    let rest = "\(rounded % Int(scale))"
    text += "." + String(repeating: "0", count: digits - rest.count) + rest
  }
  return (value < 0 && rounded > 0 ? "-" : "") + text
}

func padded(_ text: String, _ width: Int, left: Bool = false) -> String {
  let space = String(repeating: " ", count: max(0, width - text.count))
  return left ? text + space : space + text
}

/// `a` against `b`, round by round, in per cent of `b`.
func change(_ rows: [Row], _ a: String, _ b: String, _ value: (Row) -> Double) -> String {
  var percents: [Double] = []
  for row in rows where row.variant == a {
    guard let other = rows.first(where: { $0.round == row.round && $0.variant == b }) else {
      continue
    }
    percents.append((value(row) / value(other) - 1) * 100)
  }
  guard !percents.isEmpty else { return "-" }
  let (low, high) = interval(percents)
  return "\(fixed(median(percents), 1)) % [\(fixed(low, 1)), \(fixed(high, 1))]"
}

guard CommandLine.arguments.count == 2 else {
  print("usage: summarize RESULTS.tsv")
  exit(64)
}
let rows = readRows(CommandLine.arguments[1])
let order = ["none", "headers", "tcpdump-s128", "light", "tcpdump-flags"]
var kinds: [String] = []
for row in rows where !kinds.contains(row.kind) { kinds.append(row.kind) }
for kind in kinds {
  let own = rows.filter { $0.kind == kind }
  let present = Set(own.map(\.variant))
  let known = order.filter(present.contains)
  let variants = known + present.subtracting(known).sorted()
  print("\nupstream connections: \(kind)")
  print(
    padded("", 16, left: true) + padded("requests/s", 12) + padded("p99 ms", 9)
      + padded("CPU", 7) + padded("packets", 11) + padded("dropped", 9)
      + padded("requests/s against none", 26) + padded("p99 against none", 28)
      + padded("CPU a request, us", 19) + padded("against none", 22))
  for variant in variants {
    let these = own.filter { $0.variant == variant }
    let seen = median(these.map(\.seen))
    print(
      padded(variant, 16, left: true) + padded(fixed(median(these.map(\.rate)), 0), 12)
        + padded(fixed(median(these.map(\.p99)), 2), 9)
        + padded(fixed(median(these.map(\.cpu)), 3), 7) + padded(fixed(seen, 0), 11)
        + padded(fixed(these.map(\.dropped).reduce(0, +), 0), 9)
        + padded(change(own, variant, "none") { $0.rate }, 26)
        + padded(change(own, variant, "none") { $0.p99 }, 28)
        + padded(fixed(median(these.map(\.cost)), 2), 19)
        + padded(change(own, variant, "none") { $0.cost }, 22))
  }
  for (ours, theirs) in [("headers", "tcpdump-s128"), ("light", "tcpdump-flags")]
  where present.contains(ours) && present.contains(theirs) {
    print(
      "\(ours) against \(theirs): requests/s \(change(own, ours, theirs) { $0.rate }), "
        + "p99 \(change(own, ours, theirs) { $0.p99 }), "
        + "CPU a request \(change(own, ours, theirs) { $0.cost })")
  }
}
