/// A second opinion on Zeek: the same rules as the tracker's, written down for clearness alone, with
/// 64-bit numbers, real lists of blocks and every timer looked at for every packet. It shares nothing
/// with the tracker, so that a slip of one shows as a difference (`ZeekDifferentialTests`).
///
/// Rules: src/packet_analysis/protocol/tcp/TCPSessionAdapter.cc, src/packet_analysis/protocol/ip/
/// IPBasedAnalyzer.cc, src/analyzer/protocol/tcp/TCP_Endpoint.{h,cc} and TCP_Reassembler.cc,
/// src/Reassem.cc, src/Conn.cc, scripts/base/protocols/conn/main.zeek, scripts/base/init-bare.zeek.
struct ZeekModel {
  /// A segment as the wire has it; addresses are left out: ports tell the ends apart.
  struct Packet {
    var time: Int64
    var from: UInt16
    var to: UInt16
    var sequence: UInt32
    var acknowledgement: UInt32 = 0
    var syn = false
    var fin = false
    var rst = false
    var ack = false
    var window: UInt16 = 1000
    var length = 0
    var captured = 0
  }

  /// A line of conn.log.
  struct Line: Hashable {
    var start: Int64
    var originator: UInt16
    var responder: UInt16
    var state: String
    var history: String
    var duration: Int64?
    var originatorBytes: UInt64?
    var responderBytes: UInt64?
    var originatorPackets: Int
    var responderPackets: Int
  }

  private(set) var lines: [Line] = []
  private var open: [ModelConnection] = []
  private var now = Int64.min

  mutating func take(_ packet: Packet) {
    now = max(now, packet.time)
    for connection in open where connection.isDue(now) { end(connection) }
    var found = open.first { $0.isBetween(packet.from, packet.to) }
    if let connection = found, connection.isReplaced(by: packet) {
      end(connection)
      found = nil
    }
    if found == nil {
      let connection = ModelConnection(packet, now)
      open.append(connection)
      found = connection
    }
    found?.take(packet)
  }

  mutating func finish() { for connection in open { end(connection) } }

  private mutating func end(_ connection: ModelConnection) {
    open.removeAll { $0 === connection }
    lines.append(connection.line)
  }
}

enum ModelState: Int {
  case inactive, synSent, synAckSent, partial, established, closed, reset
  var isHandshake: Bool { rawValue < ModelState.partial.rawValue }
}

final class ModelEnd {
  var port: UInt16
  var state = ModelState.inactive
  var previous = ModelState.inactive
  var start: Int64 = 0
  var last: UInt32 = 0
  var acked: UInt32 = 0
  var lastWraps: UInt64 = 0
  var ackedWraps: UInt64 = 0
  var finCount = 0
  var finSequence: UInt64 = 0
  var didClose = false
  var didEnd = false
  var skips = false
  var delivered: UInt64 = 1
  var trimmed: UInt64 = 1
  /// Not yet acknowledged, in order, apart from each other.
  var blocks: [Range<UInt64>] = []
  var packets = 0
  var lastMark: [Character: UInt64] = [:]
  var counts: [Character: Int] = [:]
  var wasSeen = false

  init(_ port: UInt16) { self.port = port }

  var lastFull: UInt64 { lastWraps << 32 + UInt64(last) }
  var ackedFull: UInt64 { ackedWraps << 32 + UInt64(acked) }
  var isUnacknowledged: Bool {
    ackedFull == UInt64(bitPattern: start) || ackedFull == UInt64(bitPattern: start) &+ 1
  }
  var isClean: Bool { state == .established || state == .closed && previous == .established }

  func set(_ start: UInt32, last: UInt32) {
    self.start = Int64(start)
    acked = start
    self.last = last
  }

  func relative(_ value: UInt32, _ reference: UInt32, _ wraps: UInt64) -> (UInt64, below: Bool) {
    var wraps = wraps
    let delta = Int32(bitPattern: value &- reference)
    if delta < 0, wraps > 0, value > reference { wraps -= 1 }
    if delta > 0, value < reference { wraps += 1 }
    if wraps == 0 {
      let offset = Int32(bitPattern: value &- UInt32(truncatingIfNeeded: start))
      return (UInt64(bitPattern: Int64(offset)), offset < 0)
    }
    return (wraps << 32 &+ UInt64(value) &- UInt64(bitPattern: start), false)
  }

  func move(to value: UInt32) {
    if value < last { lastWraps += 1 }
    last = value
  }

  func insert(_ range: Range<UInt64>) {
    // The old data stays where both have some.
    var rest = [range]
    for block in blocks {
      rest = rest.flatMap { piece -> [Range<UInt64>] in
        guard piece.overlaps(block) else { return [piece] }
        var pieces: [Range<UInt64>] = []
        if piece.lowerBound < block.lowerBound {
          pieces.append(piece.lowerBound..<block.lowerBound)
        }
        if piece.upperBound > block.upperBound {
          pieces.append(block.upperBound..<piece.upperBound)
        }
        return pieces
      }
    }
    blocks = (blocks + rest).sorted { $0.lowerBound < $1.lowerBound }
  }

  /// - Returns: whether anything new was delivered.
  func deliver() -> Bool {
    let before = delivered
    for block in blocks where block.lowerBound == delivered { delivered = block.upperBound }
    return delivered != before
  }
}
