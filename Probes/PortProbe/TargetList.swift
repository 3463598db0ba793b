public import Evidence

/// A target as it is written: `host:port`, `[2001:db8::1]:443`, `10.0.0.0/24:8080`,
/// `web1:8000-8010,9090`.
public struct TargetSpec: Hashable, Sendable {
  public enum Host: Hashable, Sendable {
    /// From the first to the last, both included.
    case addresses(IPAddress, count: UInt64)
    /// To be looked up.
    case name(String)
  }

  public var host: Host
  /// The first range, and those after it: nearly always there is but one.
  public var firstPorts: ClosedRange<UInt16>
  public var morePorts: [ClosedRange<UInt16>] = []

  /// More targets than this from one line are taken for a slip of the pen.
  public static let mostTargets: UInt64 = 1_000_000

  /// Why a text is no target.
  public struct Invalid: Error, Hashable, Sendable, CustomStringConvertible {
    public var text: String
    public var reason: String
    public var description: String { "\"\(text)\" is no target: \(reason)" }
  }

  /// - Throws: `Invalid`, with what is wrong.
  public init(_ text: String) throws {
    let shown = String(escapingControlsIn: text.utf8)
    func invalid(_ reason: String) -> Invalid { Invalid(text: shown, reason: reason) }
    guard let colon = text.lastIndex(of: ":"), text.last != "]" else {
      throw invalid("it needs a port, as in \(shown):8080")
    }
    let hostText = text[..<colon]
    guard let ports = Self.ports(text[text.index(after: colon)...]) else {
      let hint = hostText.contains(":") ? "; an IPv6 address stands in brackets" : ""
      throw invalid("the port must be 1 to 65535, a range 8000-8010 or a list 80,443\(hint)")
    }
    var host = hostText
    let isBracketed = host.first == "["
    var bits: Substring?
    if let slash = host.lastIndex(of: "/") {
      bits = host[host.index(after: slash)...]
      host = host[..<slash]
    }
    // Both [2001:db8::]/120 and [2001:db8::/120] are seen.
    if isBracketed {
      host = host.dropFirst()
      if host.last == "]" { host = host.dropLast() }
      if bits?.last == "]" { bits = bits?.dropLast() }
    } else if host.contains(":") {
      throw invalid("an IPv6 address stands in brackets, as in [2001:db8::1]:80")
    }
    firstPorts = ports[0]
    morePorts = Array(ports.dropFirst())
    if let address = IPAddress(parsing: host) {
      self.host = try Self.addresses(address, bits, invalid)
    } else {
      guard bits == nil, !isBracketed, Self.isName(host) else {
        let shownHost = String(escapingControlsIn: host.utf8)
        throw invalid("\"\(shownHost)\" is neither an address nor a name")
      }
      self.host = .name(String(host))
    }
    guard targetCount <= Self.mostTargets else {
      throw invalid("it is \(targetCount) targets, more than \(Self.mostTargets)")
    }
  }

  /// One endpoint.
  public init(_ endpoint: Endpoint) {
    host = .addresses(endpoint.address, count: 1)
    firstPorts = endpoint.port...endpoint.port
  }

  public var ports: [ClosedRange<UInt16>] { [firstPorts] + morePorts }

  /// How many targets it is, a name counted as one address.
  public var targetCount: UInt64 {
    let count = morePorts.reduce(UInt64(firstPorts.count)) { $0 + UInt64($1.count) }
    guard case .addresses(_, let addresses) = host else { return count }
    return addresses.multipliedReportingOverflow(by: count).overflow ? .max : addresses * count
  }

  /// Calls `body` for every endpoint; of a name those of the addresses given.
  public func forEachEndpoint(of addresses: [IPAddress] = [], _ body: (Endpoint) -> Void) {
    func add(_ address: IPAddress) {
      for port in firstPorts { body(Endpoint(address: address, port: port)) }
      for range in morePorts {
        for port in range { body(Endpoint(address: address, port: port)) }
      }
    }
    switch host {
    case .name: addresses.forEach(add)
    case .addresses(let first, let count):
      for offset in 0..<count {
        let low = first.low.addingReportingOverflow(offset)
        add(IPAddress(high: first.high &+ (low.overflow ? 1 : 0), low: low.partialValue))
      }
    }
  }

  private static func ports(_ text: Substring) -> [ClosedRange<UInt16>]? {
    var ranges: [ClosedRange<UInt16>] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let ends = part.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
      guard let first = number(ends[0]), let last = ends.count == 1 ? first : number(ends[1]),
        first > 0, first <= last
      else { return nil }
      ranges.append(first...last)
    }
    return ranges.isEmpty ? nil : ranges
  }

  private static func number(_ text: Substring) -> UInt16? {
    text.utf8.allSatisfy { (48...57).contains($0) } ? UInt16(text) : nil
  }

  /// A network begins at its first address, whatever the host bits say.
  private static func addresses(
    _ address: IPAddress, _ bits: Substring?, _ invalid: (String) -> Invalid
  ) throws -> Host {
    guard let bits else { return .addresses(address, count: 1) }
    let width = address.isV4 ? 32 : 128
    guard let length = number(bits).map(Int.init), length <= width else {
      throw invalid("the prefix must be 0 to \(width) bits")
    }
    let hostBits = width - length
    guard hostBits <= 20 else {
      throw invalid("a network of 2^\(hostBits) addresses is more than \(mostTargets)")
    }
    let mask = ~((UInt64(1) << UInt64(hostBits)) - 1)
    return .addresses(
      IPAddress(high: address.high, low: address.low & mask), count: UInt64(1) << UInt64(hostBits))
  }

  /// Letters, digits, hyphens, underscores and dots: what a resolver may be asked.
  private static func isName(_ text: Substring) -> Bool {
    guard (1...253).contains(text.utf8.count), text.first != "-", text.first != "." else {
      return false
    }
    // Four numbers that are no address, as 10.0.0.256, are a slip of the pen.
    guard !text.utf8.allSatisfy({ (48...57).contains($0) || $0 == 46 }) else { return false }
    return text.unicodeScalars.allSatisfy { scalar in
      scalar.properties.isAlphabetic || ("0"..."9").contains(scalar)
        || "-_.".unicodeScalars.contains(scalar)
    }
  }
}

extension TargetSpec: CustomStringConvertible {
  public var description: String {
    let ports = ports.map {
      $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)"
    }
    .joined(separator: ",")
    switch host {
    case .name(let name): return "\(name):\(ports)"
    case .addresses(let first, let count):
      let host = first.isV4 ? "\(first)" : "[\(first)]"
      let bits = (first.isV4 ? 32 : 128) - count.trailingZeroBitCount
      return count == 1 ? "\(host):\(ports)" : "\(host)/\(bits):\(ports)"
    }
  }
}

/// A file with a target a line; blank lines and what follows a `#` are passed over.
public struct TargetFile: Sendable {
  public var specs: [TargetSpec] = []
  /// What could not be read, each with path and line; the other lines stand.
  public var errors: [String] = []

  public init(_ bytes: [UInt8], path: String) {
    var number = 0
    for line in bytes.split(separator: 10, omittingEmptySubsequences: false) {
      number += 1
      let words = line.prefix { $0 != 35 }.split { $0 == 32 || $0 == 9 || $0 == 13 }
      for word in words {
        if let endpoint = Self.plain(word) {
          specs.append(TargetSpec(endpoint))
          continue
        }
        do {
          specs.append(try TargetSpec(String(decoding: word, as: UTF8.self)))
        } catch {
          errors.append("\(path):\(number): \(error)")
        }
      }
    }
  }

  /// `10.0.0.1:8080`: what nearly all of 100,000 lines are. Anything else takes the long way.
  private static func plain(_ word: ArraySlice<UInt8>) -> Endpoint? {
    var address: UInt32 = 0
    var value: UInt32 = 0
    var digits = 0
    var parts = 0
    for byte in word {
      switch byte {
      case 48...57:
        value = value * 10 + UInt32(byte - 48)
        digits += 1
        guard digits <= 5 else { return nil }
      case 46 where parts < 3, 58 where parts == 3:
        guard (1...3).contains(digits), value <= 255 else { return nil }
        address = address << 8 | value
        (value, digits) = (0, 0)
        parts += 1
      default: return nil
      }
    }
    guard parts == 4, digits > 0, let port = UInt16(exactly: value), port > 0 else { return nil }
    return Endpoint(address: IPAddress(v4: address), port: port)
  }
}
