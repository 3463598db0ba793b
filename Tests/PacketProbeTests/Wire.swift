import CaptureFile
import Evidence

@testable import PacketProbe

/// Frames for tests.
struct Frame {
  var source: [UInt8] = [10, 0, 0, 1]
  var destination: [UInt8] = [10, 0, 0, 2]
  var sourcePort: UInt16 = 40000
  var destinationPort: UInt16 = 8080
  var sequence: UInt32 = 1
  var acknowledgement: UInt32 = 0
  var flags: UInt8 = 0x10
  var window: UInt16 = 64000
  var payload: [UInt8] = []
  var options: [UInt8] = []
  var timeToLive: UInt8 = 64
  var identification: UInt16 = 7
  /// Of IPv4, behind its 20 bytes.
  var internetOptions: [UInt8] = []
  /// More fragments, and the offset.
  var fragment: UInt16 = 0
  /// Written instead of the real length: 0 as segmentation offload does.
  var totalLength: UInt16?
  /// Of IPv6, before TCP: (type, bytes), the bytes without their first (the next header).
  var extensions: [(type: UInt8, body: [UInt8])] = []
  var transport: UInt8 = 6

  static func big(_ value: UInt16) -> [UInt8] { [UInt8(value >> 8), UInt8(value & 255)] }
  static func big(_ value: UInt32) -> [UInt8] {
    big(UInt16(value >> 16)) + big(UInt16(value & 0xffff))
  }

  var tcp: [UInt8] {
    let padded = options + [UInt8](repeating: 1, count: (4 - options.count % 4) % 4)
    var bytes = Self.big(sourcePort) + Self.big(destinationPort)
    bytes += Self.big(sequence) + Self.big(acknowledgement)
    bytes += [UInt8((20 + padded.count) / 4) << 4, flags]
    // A wrong checksum, as by offload.
    bytes += Self.big(window) + [0xde, 0xad, 0, 0] + padded + payload
    return bytes
  }

  var ip: [UInt8] { source.count == 4 ? ipv4 : ipv6 }

  private var ipv4: [UInt8] {
    let tcp = tcp
    let header = 20 + internetOptions.count
    var bytes: [UInt8] = [0x40 | UInt8(header / 4), 0]
    bytes += Self.big(totalLength ?? UInt16(truncatingIfNeeded: header + tcp.count))
    bytes += Self.big(identification) + Self.big(fragment)
    bytes += [timeToLive, transport, 0, 0] + source + destination + internetOptions
    return bytes + tcp
  }

  private var ipv6: [UInt8] {
    let tcp = tcp
    var inner: [UInt8] = []
    let types = extensions.map(\.type) + [transport]
    for (index, header) in extensions.enumerated() { inner += [types[index + 1]] + header.body }
    inner += tcp
    var bytes: [UInt8] = [0x60, 0, 0, 0]
    bytes += Self.big(totalLength ?? UInt16(truncatingIfNeeded: inner.count))
    bytes += [types[0], timeToLive] + source + destination
    return bytes + inner
  }

  private var etherType: [UInt8] { source.count == 4 ? [0x08, 0x00] : [0x86, 0xdd] }

  var ethernet: [UInt8] { [UInt8](repeating: 2, count: 12) + etherType + ip }

  func ethernet(tags: [UInt16]) -> [UInt8] {
    let tagged: [UInt8] = tags.flatMap { (tag: UInt16) -> [UInt8] in Self.big(tag) + [0, 5] }
    return [UInt8](repeating: 2, count: 12) + tagged + etherType + ip
  }

  func sll(type: UInt16 = 0) -> [UInt8] {
    Self.big(type) + [0, 1, 0, 6] + [UInt8](repeating: 0, count: 8) + etherType + ip
  }

  func sll2(interface: UInt32) -> [UInt8] {
    etherType + [0, 0] + Self.big(interface) + [0, 1, 0, 6] + [UInt8](repeating: 0, count: 8) + ip
  }

  func null(family: [UInt8]) -> [UInt8] { family + ip }
}

/// Two ends that talk: sequence and acknowledgement numbers keep themselves, unless given.
///
///     let wire = Wire()
///     wire.handshake()
///     wire.client("P.", "GET / HTTP/1.1\r\n\r\n")
///     wire.server("F.", after: 5000)
final class Wire {
  struct End {
    var next: UInt32
    var identification: UInt16
    var timeToLive: UInt8 = 64
  }

  var clientEnd = End(next: 1000, identification: 100)
  var serverEnd = End(next: 5000, identification: 9000)
  var template = Frame()
  /// Nanoseconds.
  var time: Int64 = 1_700_000_000_000_000_000
  var packets: [(time: Int64, bytes: [UInt8], length: Int)] = []
  /// Captured bytes of a packet.
  var snapLength = 65535

  /// - Parameters:
  ///   - flags: as tcpdump prints them: `S`, `S.`, `.`, `P.`, `F.`, `R`, `R.`.
  ///   - after: milliseconds since the packet before.
  ///   - lost: sent, but not in the capture.
  func client(
    _ flags: String, _ payload: String = "", after: Double = 1, sequence: UInt32? = nil,
    acknowledgement: UInt32? = nil, window: UInt16 = 64000, lost: Bool = false,
    change: (inout Frame) -> Void = { _ in }
  ) {
    send(
      fromClient: true, flags, Array(payload.utf8), after, sequence, acknowledgement, window, lost,
      change)
  }

  func server(
    _ flags: String, _ payload: String = "", after: Double = 1, sequence: UInt32? = nil,
    acknowledgement: UInt32? = nil, window: UInt16 = 64000, lost: Bool = false,
    change: (inout Frame) -> Void = { _ in }
  ) {
    send(
      fromClient: false, flags, Array(payload.utf8), after, sequence, acknowledgement, window, lost,
      change)
  }

  func handshake() {
    client("S")
    server("S.")
    client(".")
  }

  private func send(
    fromClient: Bool, _ text: String, _ payload: [UInt8], _ after: Double, _ sequence: UInt32?,
    _ acknowledgement: UInt32?, _ window: UInt16, _ lost: Bool, _ change: (inout Frame) -> Void
  ) {
    time += Int64(after * 1_000_000)
    var sender = fromClient ? clientEnd : serverEnd
    let other = fromClient ? serverEnd : clientEnd
    var frame = template
    if !fromClient {
      swap(&frame.source, &frame.destination)
      swap(&frame.sourcePort, &frame.destinationPort)
    }
    let letters: [Character: UInt8] = ["S": 2, "F": 1, "R": 4, "P": 8, ".": 16]
    frame.flags = text.reduce(0) { $0 | (letters[$1] ?? 0) }
    frame.sequence = sequence ?? sender.next
    frame.acknowledgement = acknowledgement ?? (text.contains(".") ? other.next : 0)
    frame.window = window
    frame.payload = payload
    frame.timeToLive = sender.timeToLive
    sender.identification &+= 1
    frame.identification = sender.identification
    change(&frame)
    if sequence == nil {
      sender.next &+= UInt32(payload.count)
      if text.contains("S") || text.contains("F") { sender.next &+= 1 }
    }
    if fromClient { clientEnd = sender } else { serverEnd = sender }
    if !lost { add(frame.ethernet) }
  }

  func add(_ bytes: [UInt8], at time: Int64? = nil) {
    packets.append((time ?? self.time, Array(bytes.prefix(snapLength)), bytes.count))
  }

  /// Time passes, shown by an ARP packet.
  func wait(_ milliseconds: Double) {
    time += Int64(milliseconds * 1_000_000)
    add([UInt8](repeating: 2, count: 12) + [0x08, 0x06] + [UInt8](repeating: 0, count: 46))
  }

  /// What the tracker says of it.
  func connections(
    _ options: TrackerOptions = .offline, linkType: LinkType = .ethernet
  ) -> [Connection] {
    Wire.connections(packets, options, linkType: linkType).connections
  }

  func connection(_ options: TrackerOptions = .offline) -> Connection? {
    connections(options).first
  }

  static func connections(
    _ packets: [(time: Int64, bytes: [UInt8], length: Int)], _ options: TrackerOptions = .offline,
    linkType: LinkType = .ethernet
  ) -> (connections: [Connection], counters: TrackerCounters) {
    let found = Box()
    var tracker = Tracker(options: options) { found.connections.append($0) }
    for packet in packets {
      packet.bytes.withUnsafeBytes { bytes in
        tracker.process(
          CapturedPacket(
            time: packet.time, interface: 0, linkType: linkType,
            originalLength: UInt32(packet.length), bytes: bytes))
      }
    }
    tracker.finish()
    return (found.connections, tracker.counters)
  }

  private final class Box { var connections: [Connection] = [] }
}
