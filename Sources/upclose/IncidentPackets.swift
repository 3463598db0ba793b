import CaptureFile
import Correlator
import Evidence
import PacketProbe

/// Finds the packets of incidents in capture files.
struct IncidentPackets {
  /// A packet of one incident, or of several whose closes cannot be told apart.
  struct Found {
    var header: CapturedHeader
    /// Of `interfaces`.
    var interface: UInt32
    var incidents: [Incident]
  }

  private(set) var found: [Found] = []
  private(set) var interfaces: [CapturedInterface] = []
  /// By flow: which incident, and from when to when its connection's packets go.
  private var wanted: [Flow: [Window]] = [:]
  /// In which file a packet was found first: another host's capture has it again.
  private var seen: [PacketHeader: (file: Int, time: Int64)] = [:]
  private var files = 0

  private struct Window {
    var incident: Incident
    var first: Int64
    var last: Int64
  }

  /// How much of a connection is shown before its close.
  private static let before = TimeSpan.seconds(60)
  private static let after = TimeSpan.seconds(5)

  /// - Parameter spans: of connections, by their number: the first and the last packet.
  init(incidents: [Incident], spans: [UInt64: (first: Timestamp, last: Timestamp)]) {
    for incident in incidents {
      guard let close = incident.close else { continue }
      let span = spans[close.connection]
      let end = close.time ?? span?.last ?? incident.time.best
      let first = max(span?.first ?? end - Self.before, end - Self.before)
      let last = max(span?.last ?? end, end) + Self.after
      wanted[close.flow, default: []].append(
        Window(incident: incident, first: first.nanoseconds, last: last.nanoseconds))
    }
  }

  /// Looks through a file; what of it can be read is.
  mutating func read(_ path: String) {
    guard !wanted.isEmpty else { return }
    files += 1
    /// This file's interfaces among all.
    var places: [UInt32: UInt32] = [:]
    var described: [UInt32: CapturedInterface] = [:]
    do throws(CaptureError) {
      var reader = try CaptureReader(path: path)
      try reader.readItems { item in
        switch item {
        case .interface(let interface): described[interface.index] = interface
        case .packet(let packet): take(packet, &places, described)
        case .journal: break
        }
        return true
      }
    } catch {
      // The replay has told of it.
      return
    }
  }

  private mutating func take(
    _ packet: CapturedPacket, _ places: inout [UInt32: UInt32],
    _ described: [UInt32: CapturedInterface]
  ) {
    guard let header = PacketHeader(packet) else { return }
    let flow = Flow(originator: header.source, responder: header.destination)
    let back = Flow(originator: header.destination, responder: header.source)
    guard let windows = wanted[flow] ?? wanted[back] else { return }
    let own = windows.filter { $0.first <= packet.time && packet.time <= $0.last }
    guard !own.isEmpty, !isSecond(header, packet.time) else { return }
    let place =
      places[packet.interface]
      ?? {
        let interface =
          described[packet.interface]
          ?? CapturedInterface(index: 0, linkType: packet.linkType)
        interfaces.append(interface)
        return UInt32(interfaces.count - 1)
      }()
    places[packet.interface] = place
    found.append(
      Found(
        header: CapturedHeader(
          time: packet.time, linkType: packet.linkType, originalLength: packet.originalLength,
          bytes: Array(packet.bytes.prefix(header.headerLength))),
        interface: place, incidents: own.map(\.incident)))
  }

  /// Whether another file had it already. The same file may: it was sent again.
  private mutating func isSecond(_ header: PacketHeader, _ time: Int64) -> Bool {
    var key = header
    // The other host's link may have another header.
    key.headerLength = 0
    if let other = seen[key], other.file != files,
      abs(other.time - time) < TimeSpan.seconds(10).nanoseconds
    {
      return true
    }
    seen[key] = (files, time)
    return false
  }
}
