import Correlator
import Evidence

/// One arrow of a sequence diagram.
struct SequenceStep {
  enum Kind: String {
    case ordinary, payload, close, missing
  }

  /// Nil: it never came.
  var time: Timestamp?
  var isFromNginx: Bool
  var label: String
  /// Sequence and acknowledgement numbers, relative to the first shown of each side.
  var numbers: String?
  var kind: Kind
}

/// The last packets of an incident's connection, and what is missing among them.
struct SequenceSteps {
  var steps: [SequenceStep]
  /// What came before and is not shown, or how much is known.
  var note: String?

  /// From the packets where they were kept, else from what the packet probe concluded of them.
  init?(_ connection: Connection?, _ trail: PacketTrail?) {
    if let trail, !trail.packets.isEmpty {
      steps = Self.steps(of: trail)
      note = trail.isCut ? "earlier packets are not shown" : nil
    } else if let connection {
      steps = Self.steps(of: connection)
      note = "drawn from what was concluded of the connection: its packets were not kept"
    } else {
      return nil
    }
    if let connection { steps += Self.missing(connection) }
  }

  // MARK: From packets

  private static let most = 24

  private static func steps(of trail: PacketTrail) -> [SequenceStep] {
    var bases: [Bool: UInt32] = [:]
    for packet in trail.packets {
      if bases[packet.isFromOriginator] == nil { bases[packet.isFromOriginator] = packet.sequence }
      // The first acknowledgement dates the other side where none of its packets was kept.
      if packet.flags.contains(.ack), bases[!packet.isFromOriginator] == nil {
        bases[!packet.isFromOriginator] = packet.acknowledgement
      }
    }
    return trail.packets.suffix(most).map { packet in
      let sequence = packet.sequence &- (bases[packet.isFromOriginator] ?? 0)
      var numbers = "seq \(relative(sequence))"
      if packet.length > 0 {
        numbers += ":\(relative(sequence &+ packet.length))"
      }
      if packet.flags.contains(.ack) {
        let base = bases[!packet.isFromOriginator] ?? 0
        numbers += " ack \(relative(packet.acknowledgement &- base))"
      }
      return SequenceStep(
        time: packet.time, isFromNginx: packet.isFromOriginator, label: label(packet),
        numbers: numbers, kind: kind(packet))
    }
  }

  /// A number before the first shown is negative, not four billion.
  private static func relative(_ value: UInt32) -> String { "\(Int32(bitPattern: value))" }

  private static func label(_ packet: PacketRecord) -> String {
    var names: [String] = []
    if packet.flags.contains(.syn) { names.append("SYN") }
    if packet.flags.contains(.fin) { names.append("FIN") }
    if packet.flags.contains(.rst) { names.append("RST") }
    if packet.length > 0 { names.append("\(packet.length) B") }
    if packet.flags.contains(.ack), names.isEmpty || packet.flags.contains(.syn) {
      names.append("ACK")
    }
    if packet.flags.contains(.rst), !packet.flags.contains(.ack) { names.append("(no ACK)") }
    if packet.window == 0, !packet.flags.contains(.rst) { names.append("window 0") }
    return names.joined(separator: " ")
  }

  private static func kind(_ packet: PacketRecord) -> SequenceStep.Kind {
    if packet.flags.contains(.fin) || packet.flags.contains(.rst) { return .close }
    return packet.length > 0 ? .payload : .ordinary
  }

  // MARK: From the conclusion

  private static func steps(of connection: Connection) -> [SequenceStep] {
    var steps: [SequenceStep] = []
    if connection.sawStart {
      steps.append(
        SequenceStep(
          time: connection.firstPacket, isFromNginx: true, label: "SYN", kind: .ordinary))
    }
    if let sent = connection.requestSentAt {
      let bytes = connection.requestBytes.map { " \($0) B" } ?? ""
      let name = connection.request.map { " \($0)" } ?? ""
      steps.append(
        SequenceStep(
          time: sent, isFromNginx: true, label: "request\(bytes)\(name)", kind: .payload))
    }
    if let fin = connection.responderFIN {
      steps.append(SequenceStep(time: fin, isFromNginx: false, label: "FIN", kind: .close))
    }
    if let fin = connection.originatorFIN {
      steps.append(SequenceStep(time: fin, isFromNginx: true, label: "FIN", kind: .close))
    }
    for (reset, isNginx) in [
      (connection.responderReset, false), (connection.originatorReset, true),
    ] {
      guard let reset else { continue }
      let how = reset.manner == .passiveReset ? "RST (no socket there)" : "RST"
      steps.append(SequenceStep(time: reset.time, isFromNginx: isNginx, label: how, kind: .close))
    }
    return steps.sorted { ($0.time?.nanoseconds ?? .max) < ($1.time?.nanoseconds ?? .max) }
  }

  // MARK: What is missing

  private static func missing(_ connection: Connection) -> [SequenceStep] {
    func never(_ label: String, fromNginx: Bool = false) -> SequenceStep {
      SequenceStep(time: nil, isFromNginx: fromNginx, label: label, kind: .missing)
    }
    if connection.manner == .timeout, connection.phase == .connecting {
      return [never("no SYN-ACK came")]
    }
    switch connection.phase {
    case .awaitingResponse: return [never("not one byte of a response came")]
    case .receivingResponse:
      let bytes = connection.responseBytes.map { "after \($0) B " } ?? ""
      return [never("\(bytes)the rest of the response never came")]
    case .sendingRequest where connection.requestAfterFIN, .idle where connection.requestAfterFIN:
      return [never("the request was never read: no response")]
    case .sendingRequest: return [never("the request was not taken in full")]
    default: return []
    }
  }
}
