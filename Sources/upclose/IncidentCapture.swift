import CaptureFile
import Correlator
import Evidence
import PacketProbe
import Report
import Session

/// Writes the incidents of a session as a pcapng: their packets with the verdict as comment, and what
/// the logs said around them, in the order of time.
final class IncidentCapture: SessionReporter {
  /// Around an incident's error and close.
  private static let around = TimeSpan.seconds(2)
  private static let mostObservations = 200_000

  private let output: Output
  /// Where the packets are, the first session's first.
  private let files: [String]
  private let text: IncidentText
  private let json: JSONReport
  private var incidents: [Int: Incident] = [:]
  /// The first and the last packet of each connection that an error may be about.
  private var spans: [UInt64: (first: Timestamp, last: Timestamp)] = [:]
  private var observations: [Observation] = []

  init(output: Output, files: [String], utcOffset: Int) {
    self.output = output
    self.files = files
    text = IncidentText(TextStyle(utcOffset: utcOffset))
    json = JSONReport(utcOffset: utcOffset)
  }

  // MARK: In

  func observe(_ observation: Observation) {
    switch observation.fact {
    case .connection(let connection):
      spans[connection.id] = (connection.firstPacket, connection.lastPacket)
    case .nginxLine(let line) where line.message != .other:
      keep(observation)
    case .kernel, .processExit, .processReplaced, .signal, .resetSent: keep(observation)
    case .port(let check) where check.outcome != .open: keep(observation)
    default: break
    }
  }

  private func keep(_ observation: Observation) {
    if observations.count < Self.mostObservations { observations.append(observation) }
  }

  func print(_ incident: Incident) { incidents[incident.id] = incident }

  func print(_ summary: Summary) {
    for incident in summary.incidents { incidents[incident.id] = incident }
    write(incidents.values.sorted { $0.id < $1.id })
  }

  // MARK: Out

  private func write(_ incidents: [Incident]) {
    var items = journal(incidents)
    var packets = IncidentPackets(incidents: incidents, spans: spans)
    for file in files { packets.read(file) }
    for packet in packets.found.sorted(by: { $0.header.time < $1.header.time }) {
      items.append(
        Item(
          time: packet.header.time,
          content: .packet(packet, comments: packet.incidents.map { comment($0, packet) })))
    }
    items.sort { $0.time < $1.time }
    var bytes: [UInt8] = []
    PcapngBlock.appendSection(
      application: programVersion,
      comment: "\(incidents.count) incidents of nginx's upstreams", to: &bytes)
    for interface in packets.interfaces {
      PcapngBlock.appendInterface(
        linkType: interface.linkType, name: interface.name ?? "any",
        description: interface.description, to: &bytes)
    }
    output.write(bytes)
    for item in items {
      var bytes: [UInt8] = []
      switch item.content {
      case .journal(let entry): PcapngBlock.appendJournal(entry.bytes, to: &bytes)
      case .packet(let packet, let comments):
        packet.header.bytes.withUnsafeBytes { header in
          PcapngBlock.appendPacket(
            interface: packet.interface, time: packet.header.time,
            originalLength: packet.header.originalLength, bytes: header, comments: comments,
            to: &bytes)
        }
      }
      output.write(bytes)
    }
    output.flush()
  }

  private struct Item {
    var time: Int64
    var content: Content
    enum Content {
      case packet(IncidentPackets.Found, comments: [String])
      case journal(JournalEntry)
    }
  }

  /// All there is to say on the packet that closed the connection, the cause on the others.
  private func comment(_ incident: Incident, _ packet: IncidentPackets.Found) -> String {
    guard packet.header.time == incident.close?.time?.nanoseconds else {
      return "#\(incident.id) \(incident.upstream ?? "-") \(incident.verdict.cause.rawValue)"
    }
    let line = text.render(incident)
    let details = text.details(incident).split(separator: "\n").map { line in
      line.drop { $0 == " " }
    }
    return ([Substring(line)] + details).joined(separator: " | ")
  }

  /// The verdicts, and the observations near one.
  private func journal(_ incidents: [Incident]) -> [Item] {
    var windows = incidents.map { incident in
      let close = incident.close?.time
      let first = min(incident.time.earliest, close ?? incident.time.earliest)
      let last = max(incident.time.latest, close ?? incident.time.latest)
      return (first: first - Self.around, last: last + Self.around)
    }
    windows.sort { $0.first < $1.first }
    var items: [Item] = []
    var next = 0
    // The furthest end of the windows that have begun.
    var reach = Timestamp(nanoseconds: .min)
    for observation in observations.sorted(by: { $0.time.best < $1.time.best }) {
      let time = observation.time.best
      while next < windows.count, windows[next].first <= time {
        reach = max(reach, windows[next].last)
        next += 1
      }
      if time <= reach, let entry = JournalEntry(of: observation) {
        items.append(Item(time: time.nanoseconds, content: .journal(entry)))
      }
    }
    return items
      + incidents.map { incident in
        let time = incident.close?.time ?? incident.time.best
        let recorded = RecordedIncident(
          time: time, message: text.render(incident), json: json.incident(incident).compact)
        return Item(time: time.nanoseconds, content: .journal(JournalEntry(of: recorded)))
      }
  }
}
