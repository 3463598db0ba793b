import Evidence
import LinuxHost

/// How full the owners' descriptor tables are.
struct DescriptorBooks {
  private var told: [Int32: DescriptorUse] = [:]
  /// Where to go on, so that many owners are looked at in turn.
  private var next = 0

  /// A look costs a system call or two.
  private static let mostLooks = 256

  /// - Returns: what is news.
  mutating func look(at owners: [ProcessIdentity], _ table: ProcTable) -> [DescriptorUse] {
    let sorted = owners.sorted { $0.pid < $1.pid }
    let living = Set(sorted.map(\.pid))
    told = told.filter { living.contains($0.key) }
    guard !sorted.isEmpty else { return [] }
    var news: [DescriptorUse] = []
    for step in 0..<min(sorted.count, Self.mostLooks) {
      let owner = sorted[(next + step) % sorted.count]
      guard let used = table.descriptorCount(of: owner.pid),
        // It may have been raised since the process was first seen.
        let limit = table.descriptorLimit(owner.pid), limit > 0
      else { continue }
      let use = DescriptorUse(process: owner, used: used, limit: limit)
      if Self.isNews(use, after: told[owner.pid]) {
        told[owner.pid] = use
        news.append(use)
      }
    }
    next = (next + Self.mostLooks) % sorted.count
    return news
  }

  static func isNews(_ new: DescriptorUse, after old: DescriptorUse?) -> Bool {
    guard let old else { return new.isHigh }
    return new.isHigh ? new.used > old.used || !old.isHigh : old.isHigh
  }
}
