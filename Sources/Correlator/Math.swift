import Glibc

func log10(_ x: Double) -> Double { Glibc.log10(x) }

/// The likelihood ratio of so many decibans.
func ratio(decibans: Double) -> Double { Glibc.pow(10, decibans / 10) }

/// The natural logarithm of n!, by Stirling's series; exact to 1e-10 and the same on every machine.
func logFactorial(_ n: Int) -> Double {
  guard n > 1 else { return 0 }
  if n < 16 { return (2...n).reduce(0.0) { $0 + Glibc.log(Double($1)) } }
  let x = Double(n)
  let series = 1 / (12 * x) - 1 / (360 * x * x * x) + 1 / (1260 * x * x * x * x * x)
  return x * Glibc.log(x) - x + 0.5 * Glibc.log(2 * Double.pi * x) + series
}

/// The natural logarithm of the number of ways to choose k of n.
func logChoose(_ n: Int, _ k: Int) -> Double {
  logFactorial(n) - logFactorial(k) - logFactorial(n - k)
}

/// Fisher's exact test, two-sided: how likely a table at least as odd as this one is when both rows
/// have the same proportion. It is exact for any counts, small ones above all, where a comparison of
/// two proportions by the normal distribution is not.
/// - Parameters: hits and tries of either side; hits are no more than tries.
func fisher(_ hitsA: Int, of triesA: Int, _ hitsB: Int, of triesB: Int) -> Double {
  let hits = hitsA + hitsB
  guard triesA > 0, triesB > 0, hits > 0, hits < triesA + triesB else { return 1 }
  let all = logChoose(triesA + triesB, hits)
  func probability(_ a: Int) -> Double {
    Glibc.exp(logChoose(triesA, a) + logChoose(triesB, hits - a) - all)
  }
  let observed = probability(hitsA)
  // The tables lie around the likeliest; far from it they add nothing to the sum.
  let low = max(0, hits - triesB)
  let high = min(hits, triesA)
  let mode = Int(Double(hits + 1) * Double(triesA + 1) / Double(triesA + triesB + 2))
  let middle = min(max(mode, low), high)
  var sum = 0.0
  for a in stride(from: middle, through: low, by: -1) {
    let p = probability(a)
    if p <= observed * (1 + 1e-7) { sum += p }
    if p < observed * 1e-12, p < 1e-15 { break }
  }
  if middle < high {
    for a in middle + 1...high {
      let p = probability(a)
      if p <= observed * (1 + 1e-7) { sum += p }
      if p < observed * 1e-12, p < 1e-15 { break }
    }
  }
  return min(sum, 1)
}
