/// The last packets of one connection, as they were captured: what a sequence diagram is drawn from.
///
/// A trail follows the incident whose close it belongs to: its `connection` is that close's. When a
/// later packet changes the close, the trail comes again, whole, and replaces the one before.
public struct PacketTrail: Hashable, Codable, Sendable {
  /// The packet probe's number of the connection, as in `Connection.id`.
  public var connection: UInt64
  public var flow: Flow
  /// Oldest first.
  public var packets: [PacketRecord]
  /// Whether the connection had packets before these, which are not kept.
  public var isCut: Bool

  public init(
    connection: UInt64, flow: Flow, packets: [PacketRecord] = [], isCut: Bool = false
  ) {
    self.connection = connection
    self.flow = flow
    self.packets = packets
    self.isCut = isCut
  }
}

/// One TCP segment's header (RFC 9293, 3.1), without its payload.
public struct PacketRecord: Hashable, Codable, Sendable {
  public var time: Timestamp
  /// Sent by nginx; else by the backend (or in its name).
  public var isFromOriginator: Bool
  public var flags: PacketFlags
  /// As on the wire: absolute.
  public var sequence: UInt32
  /// As on the wire; it means something only with the ACK flag.
  public var acknowledgement: UInt32
  /// Payload bytes on the wire.
  public var length: UInt32
  /// As on the wire: not scaled.
  public var window: UInt16

  public init(
    time: Timestamp, isFromOriginator: Bool, flags: PacketFlags, sequence: UInt32,
    acknowledgement: UInt32, length: UInt32, window: UInt16
  ) {
    self.time = time
    self.isFromOriginator = isFromOriginator
    self.flags = flags
    self.sequence = sequence
    self.acknowledgement = acknowledgement
    self.length = length
    self.window = window
  }
}

/// The flags of a TCP header. In JSON and in text as tcpdump writes them: `S`, `S.`, `P.`, `F.`, `R`,
/// `.` (`.` is ACK).
public struct PacketFlags: OptionSet, Hashable, Sendable {
  /// The header's fourteenth byte.
  public var rawValue: UInt8

  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let fin = Self(rawValue: 0x01)
  public static let syn = Self(rawValue: 0x02)
  public static let rst = Self(rawValue: 0x04)
  public static let psh = Self(rawValue: 0x08)
  public static let ack = Self(rawValue: 0x10)
  public static let urg = Self(rawValue: 0x20)
  public static let ece = Self(rawValue: 0x40)
  public static let cwr = Self(rawValue: 0x80)

  /// In tcpdump's order (print-tcp.c, `tcp_flag_values`).
  private static let letters: [(Self, Character)] = [
    (.fin, "F"), (.syn, "S"), (.rst, "R"), (.psh, "P"), (.ack, "."), (.urg, "U"), (.ece, "E"),
    (.cwr, "W"),
  ]
}

extension PacketFlags: LosslessStringConvertible {
  /// As tcpdump writes them, `none` without any.
  public var description: String {
    let set = Self.letters.filter { contains($0.0) }.map(\.1)
    return set.isEmpty ? "none" : String(set)
  }

  /// Reads what `description` writes; nil for anything else.
  public init?(_ text: String) {
    self = []
    if text == "none" { return }
    for letter in text {
      guard let flag = Self.letters.first(where: { $0.1 == letter }) else { return nil }
      insert(flag.0)
    }
  }
}

extension PacketFlags: Codable {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let text = try container.decode(String.self)
    guard let flags = Self(text) else {
      throw DecodingError.dataCorruptedError(
        in: container, debugDescription: "'\(text)' are no TCP flags")
    }
    self = flags
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}
