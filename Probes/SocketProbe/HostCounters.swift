import Evidence
import LinuxHost

/// What the kernel counts of its TCP (`/proc/net/netstat`, `snmp`) and of connection tracking, as
/// differences to the first look.
///
/// The counters belong to a network namespace: those of all that hold a watched socket are added up.
struct HostCounters {
  /// Names as the kernel writes them, and what they mean (Linux Documentation/networking/snmp_counter).
  static let wanted: Set<String> = [
    // A connection that was complete found the accept queue full; a SYN was thrown away.
    "ListenOverflows", "ListenDrops",
    // Resets: closed with data unread, data after the close, no memory, too many orphans.
    "TCPAbortOnData", "TCPAbortOnClose", "TCPAbortOnMemory", "TCPAbortOnTimeout",
    "TCPAbortOnLinger",
    // The queue of half-open connections is full: dropped, or answered by cookies.
    "TCPReqQFullDrop", "TCPReqQFullDoCookies", "TCPBacklogDrop", "TCPTimeouts",
    "RetransSegs", "OutRsts", "EstabResets", "AttemptFails",
  ]

  private let proc: String
  private var first: [UInt64: [String: UInt64]] = [:]
  private var last: [UInt64: [String: UInt64]] = [:]
  /// Of namespaces that are gone.
  private var past: [String: UInt64] = [:]

  init(proc: String) { self.proc = proc }

  /// - Parameter namespaces: a process in each, by the namespace's inode.
  /// - Returns: every difference that is not 0, and how full connection tracking is.
  mutating func read(_ namespaces: [UInt64: String]) -> [String: UInt64] {
    for (inode, pid) in namespaces {
      var counters = Self.protocolCounters(at: "\(proc)/\(pid)/net")
      counters.merge(Self.trackingCounters(at: "\(proc)/\(pid)/net")) { a, _ in a }
      guard !counters.isEmpty else { continue }
      if first[inode] == nil { first[inode] = counters }
      last[inode] = counters
    }
    for inode in Array(last.keys) where namespaces[inode] == nil {
      past.merge(difference(inode)) { $0 &+ $1 }
      first[inode] = nil
      last[inode] = nil
    }
    var total = past
    for inode in last.keys { total.merge(difference(inode)) { $0 &+ $1 } }
    total = total.filter { $0.value != 0 }
    total.merge(trackingLevels()) { _, level in level }
    return total
  }

  private func difference(_ inode: UInt64) -> [String: UInt64] {
    guard let first = first[inode], let last = last[inode] else { return [:] }
    return last.reduce(into: [:]) { result, entry in
      // A counter that went back began anew.
      let before = first[entry.key] ?? 0
      result[entry.key] = entry.value >= before ? entry.value - before : entry.value
    }
  }

  static func protocolCounters(at directory: String) -> [String: UInt64] {
    var counters: [String: UInt64] = [:]
    for file in ["netstat", "snmp"] {
      guard let bytes = try? readFile("\(directory)/\(file)", limit: 1 << 20) else { continue }
      counters.merge(pairs(bytes)) { a, _ in a }
    }
    return counters
  }

  /// Lines come in pairs: `TcpExt: NAME NAME …` and `TcpExt: 1 2 …`.
  static func pairs(_ bytes: [UInt8]) -> [String: UInt64] {
    var counters: [String: UInt64] = [:]
    let lines = bytes.split(separator: 10)
    for (names, values) in zip(lines, lines.dropFirst()) {
      let (keys, numbers) = (names.split(separator: 32), values.split(separator: 32))
      guard let key = keys.first, key == numbers.first, key.starts(with: "Tcp".utf8),
        numbers.dropFirst().first?.first.map({ (48...57).contains($0) || $0 == 45 }) == true
      else { continue }
      for (name, number) in zip(keys, numbers).dropFirst() {
        let text = String(decoding: name, as: UTF8.self)
        guard wanted.contains(text) else { continue }
        counters[text] = UInt64(String(decoding: number, as: UTF8.self))
      }
    }
    return counters
  }

  /// Connection tracking's own counters, a line a CPU, in hexadecimal below their names.
  static func trackingCounters(at directory: String) -> [String: UInt64] {
    guard let bytes = try? readFile("\(directory)/stat/nf_conntrack", limit: 1 << 20) else {
      return [:]
    }
    return trackingCounters(bytes)
  }

  static func trackingCounters(_ bytes: [UInt8]) -> [String: UInt64] {
    var lines = bytes.split(separator: 10)[...]
    guard let names = lines.popFirst()?.split(separator: 32) else { return [:] }
    var counters: [String: UInt64] = [:]
    for line in lines {
      for (name, value) in zip(names, line.split(separator: 32)) {
        let text = String(decoding: name, as: UTF8.self)
        guard ["invalid", "drop", "early_drop", "insert_failed"].contains(text) else { continue }
        counters["conntrack \(text)", default: 0] &+= hexadecimal(value) ?? 0
      }
    }
    return counters
  }

  /// How full the table is, once it is more than half full: it would change with every look.
  private func trackingLevels() -> [String: UInt64] {
    func level(_ name: String) -> UInt64? {
      guard
        let bytes = try? readFile("\(proc)/sys/net/netfilter/nf_conntrack_\(name)", limit: 64)
      else { return nil }
      return UInt64(String(decoding: bytes.prefix { (48...57).contains($0) }, as: UTF8.self))
    }
    guard let count = level("count"), let maximum = level("max"), count > maximum / 2 else {
      return [:]
    }
    return ["conntrack entries": count, "conntrack maximum": maximum]
  }
}
