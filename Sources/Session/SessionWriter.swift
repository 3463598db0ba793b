public import CaptureFile
public import Evidence

/// Writes a session: blocks are put together in memory, and appended whole by `flush`.
///
/// Past the limit healthy closes are only counted and of the packets only resets and those of incidents
/// are kept; a quarter of the limit further the recording ends. With several files there is no such
/// end: the next file begins, and the oldest is overwritten.
public final class SessionWriter {
  private let files: [RecordingFile]
  private var place = 0
  private var info: RecordingInfo
  private var buffer: [UInt8] = []
  private var sequence: UInt64 = 0
  private var interfaces: [LinkType] = []
  private let interfaceName: String
  private var context = RecordingContext()
  private var counted: [Endpoint: OrdinaryCloses] = [:]
  public private(set) var progress = RecordingProgress()
  /// Past the limit.
  public private(set) var isSaving = false
  /// Why nothing more is recorded.
  public private(set) var failure: String?

  /// - Parameters:
  ///   - files: one, or as many as are to be rotated.
  ///   - interface: where packets are captured, as `any`.
  public init(files: [RecordingFile], info: RecordingInfo, interface: String) {
    self.files = files
    self.info = info
    interfaceName = interface
    begin()
  }

  private var file: RecordingFile { files[place] }
  /// Of the file at hand, with what waits to be written.
  private var size: UInt64 { file.size + UInt64(buffer.count) }

  private func begin() {
    interfaces = []
    PcapngBlock.appendSection(
      application: info.recorder, comment: "upclose session \(info.session), part \(info.part)",
      to: &buffer)
    append(.recording(info), at: info.started)
  }

  // MARK: In

  /// Adds a record.
  /// - Parameter time: of a record that has none of its own.
  public func add(_ record: SessionRecord, at time: Timestamp) {
    guard failure == nil else { return }
    if case .observation(let observation) = record {
      progress.observations += 1
      if files.count > 1 { context.note(observation) }
      if isSaving, count(observation) { return }
    }
    if case .advance(let times) = record, isSaving, let time = times.first { tellCounted(time) }
    append(record, at: time)
    keepLimit(time)
  }

  /// Adds a packet's headers.
  /// - Parameters:
  ///   - isEssential: kept past the limit too: a reset, or a packet of an incident.
  ///   - bytes: cut at the end of the TCP header.
  public func addPacket(
    time: Int64, linkType: LinkType, originalLength: UInt32, isEssential: Bool,
    bytes: UnsafeRawBufferPointer
  ) {
    guard failure == nil, isEssential || !isSaving else { return }
    progress.packets += 1
    PcapngBlock.appendPacket(
      interface: interface(linkType), time: time, originalLength: originalLength, bytes: bytes,
      to: &buffer)
    keepLimit(Timestamp(nanoseconds: time))
  }

  /// Notes what never came here, because the disk was too slow.
  public func noteLost(observations: UInt64, packets: UInt64) {
    progress.lostObservations = observations
    progress.lostPackets = packets
  }

  private func interface(_ linkType: LinkType) -> UInt32 {
    if let known = interfaces.firstIndex(of: linkType) { return UInt32(known) }
    interfaces.append(linkType)
    PcapngBlock.appendInterface(
      linkType: linkType, name: interfaceName, description: "\(interfaceName) on \(info.host)",
      to: &buffer)
    return UInt32(interfaces.count - 1)
  }

  private func append(_ record: SessionRecord, at time: Timestamp, isRepeated: Bool = false) {
    if !isRepeated { sequence += 1 }
    var entry = SessionEntry(
      session: info.session, host: info.host, sequence: sequence, time: time, record: record)
    if case .observation(let observation) = record {
      entry.time = observation.time.best
      entry.host = observation.host
    }
    entry.isRepeated = isRepeated
    // Nothing that can be observed fails to encode; if it did, a reader sees the gap in the numbers.
    guard let journal = try? entry.journal() else { return }
    for part in journal { PcapngBlock.appendJournal(part.bytes, to: &buffer) }
  }

  // MARK: Limits

  /// Counts a healthy close instead of recording it.
  private func count(_ observation: Observation) -> Bool {
    guard case .connection(let connection) = observation.fact, connection.isHealthyClose else {
      return false
    }
    progress.countedCloses += 1
    let responder = connection.flow.responder
    var closes = counted[responder] ?? OrdinaryCloses(responder: responder)
    if connection.closer == .responder { closes.byResponder += 1 } else { closes.byOriginator += 1 }
    counted[responder] = closes
    return true
  }

  private func tellCounted(_ time: Timestamp) {
    for (_, closes) in counted.sorted(by: { $0.key < $1.key }) {
      append(
        .observation(
          Observation(
            host: info.host, time: TimeEstimate(exactly: time), fact: .ordinaryCloses(closes))),
        at: time)
    }
    counted = [:]
  }

  private func keepLimit(_ time: Timestamp) {
    guard size >= info.limit else { return }
    if files.count > 1 { return rotate(time) }
    if !isSaving {
      isSaving = true
      let spot = BlindSpot(
        id: "recording-limit",
        what: "the recording reached its limit of \(info.limit >> 20) MiB at "
          + time.iso8601(digits: 0),
        cost: "from there on healthy closes are only counted, and of packets only resets and those "
          + "of incidents are in the file",
        remedy: "--record-limit, or --record-rotate")
      append(
        .observation(
          Observation(host: info.host, time: TimeEstimate(exactly: time), fact: .blindSpot(spot))),
        at: time)
    }
    if size >= info.limit + max(info.limit / 4, 256 << 10) {
      append(.end(progress), at: time)
      flush()
      failure = failure ?? "\(file.path): the file is a quarter beyond --record-limit"
    }
  }

  private func rotate(_ time: Timestamp) {
    append(.progress(progress), at: time)
    flush()
    guard failure == nil else { return }
    place = (place + 1) % files.count
    file.empty()
    info.part += 1
    begin()
    for observation in context.observations {
      append(.observation(observation), at: observation.time.best, isRepeated: true)
    }
  }

  // MARK: Out

  /// Writes out what was added. A failure ends the recording, and the file is good up to it.
  public func flush() {
    guard failure == nil, !buffer.isEmpty else { return }
    do throws(CaptureError) {
      try file.append(buffer)
    } catch {
      failure = "\(error.path): \(error.reason)"
    }
    buffer.removeAll(keepingCapacity: true)
  }

  /// Ends the recording as it should end.
  public func finish(at time: Timestamp) {
    guard failure == nil else { return }
    if isSaving { tellCounted(time) }
    append(.end(progress), at: time)
    flush()
  }
}

extension Connection {
  /// Ended by FINs while idle, every request answered: no error can claim it.
  var isHealthyClose: Bool {
    phase == .idle && manner == .fin && originatorReset == nil && responderReset == nil
      && !requestAfterFIN && !isLight && (exchanges.map { $0 > 0 } ?? false)
  }
}
