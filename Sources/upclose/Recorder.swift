import CaptureFile
import Evidence
import Glibc
import LinuxHost
import PacketProbe
import Session
import Synchronization

/// Records a session on a thread of its own: who observes never waits for the disk. What the disk is
/// too slow for is counted.
final class Recorder: HeaderSink {
  /// Between two writes: what a kill can cost.
  private static let pause: Int32 = 250
  private static let mostRecords = 200_000
  private static let mostPacketBytes = 32 << 20

  private let waiting = Mutex(Waiting())
  private let box: WriterBox
  private let thread = Mutex<ProbeThread?>(nil)
  let path: String

  /// Used by the recorder's thread alone, and by who ends it.
  private final class WriterBox: @unchecked Sendable {
    let writer: SessionWriter
    init(_ writer: SessionWriter) { self.writer = writer }
  }

  private struct Waiting {
    var records: [(time: Timestamp, record: SessionRecord)] = []
    var packets: [Packet] = []
    var bytes: [UInt8] = []
    var lostObservations: UInt64 = 0
    var lostPackets: UInt64 = 0
    /// Why nothing is taken any more.
    var failure: String?
    var isFailureTold = false
    /// Healthy packets are not in the file any more.
    var isSaving = false
    /// Up to when each connection's packets were recorded.
    var trailEnds: [UInt64: Int64] = [:]
  }

  private struct Packet {
    var time: Int64
    var linkType: LinkType
    var originalLength: UInt32
    var isEssential: Bool
    var range: Range<Int>
  }

  /// - Parameter files: opened while there were privileges.
  init(files: [RecordingFile], info: RecordingInfo, interface: String) {
    path = files.map(\.path).joined(separator: ", ")
    box = WriterBox(SessionWriter(files: files, info: info, interface: interface))
  }

  /// Starts the thread; what was recorded before waits for it.
  func start() throws {
    let thread = try ProbeThread.start("recorder") { [weak self] thread in
      while thread.sleep(milliseconds: Self.pause) { self?.write() }
    }
    self.thread.withLock { $0 = thread }
  }

  /// Writes out what is left, with the mark of a whole recording.
  func finish(at time: Timestamp) {
    thread.withLock { $0 }?.stop()
    write()
    box.writer.finish(at: time)
    if let failure = box.writer.failure { waiting.withLock { $0.failure = failure } }
  }

  // MARK: In

  func record(_ observation: Observation) {
    guard Self.isWorthRecording(observation.fact) else { return }
    add(.observation(observation), at: observation.time.best)
  }

  /// The correlator is told that all is in up to then.
  func record(advance watermark: Timestamp) {
    waiting.withLock { waiting in
      // One entry for all that follow one another.
      if let last = waiting.records.indices.last,
        case .advance(let times) = waiting.records[last].record
      {
        waiting.records[last].record = .advance(times + [watermark])
      } else {
        waiting.records.append((watermark, .advance([watermark])))
      }
    }
  }

  func record(_ incident: RecordedIncident) { add(.incident(incident), at: incident.time) }

  /// The packets of an incident, without those that are in the file anyway.
  func record(_ kept: TrailStore.Kept) {
    let (isSaving, end) = waiting.withLock { waiting in
      let id = kept.trail.connection
      let end = waiting.trailEnds[id] ?? .min
      if waiting.trailEnds.count > 20_000 { waiting.trailEnds = [:] }
      waiting.trailEnds[id] = max(end, kept.headers.last?.time ?? .min)
      return (waiting.isSaving, end)
    }
    for header in kept.headers where header.time > end {
      guard let flags = PacketHeader(header)?.flags else { continue }
      let isRecorded = flags.contains(.rst) || !isSaving && !flags.isDisjoint(with: [.syn, .fin])
      if isRecorded { continue }
      header.bytes.withUnsafeBytes { bytes in
        take(
          time: header.time, linkType: header.linkType, originalLength: header.originalLength,
          isEssential: true, bytes: bytes)
      }
    }
  }

  private func add(_ record: SessionRecord, at time: Timestamp) {
    waiting.withLock { waiting in
      guard waiting.failure == nil else { return }
      guard waiting.records.count < Self.mostRecords else {
        waiting.lostObservations += 1
        return
      }
      waiting.records.append((time, record))
    }
  }

  func take(
    time: Int64, linkType: LinkType, originalLength: UInt32, isEssential: Bool,
    bytes: UnsafeRawBufferPointer
  ) {
    waiting.withLock { waiting in
      guard waiting.failure == nil else { return }
      guard waiting.bytes.count + bytes.count <= Self.mostPacketBytes else {
        waiting.lostPackets += 1
        return
      }
      let start = waiting.bytes.count
      waiting.bytes.append(contentsOf: bytes)
      waiting.packets.append(
        Packet(
          time: time, linkType: linkType, originalLength: originalLength, isEssential: isEssential,
          range: start..<waiting.bytes.count))
    }
  }

  /// Lines of nginx that no verdict needs may hold anything, also what an application said.
  private static func isWorthRecording(_ fact: Observation.Fact) -> Bool {
    guard case .nginxLine(let line) = fact, !line.message.isUpstreamFailure else { return true }
    return line.message != .other && line.message != .applicationMessage
  }

  // MARK: Out

  /// Why the recording ended, once.
  var news: String? {
    waiting.withLock { waiting in
      guard let failure = waiting.failure, !waiting.isFailureTold else { return nil }
      waiting.isFailureTold = true
      return failure
    }
  }

  /// Packets among the records by their time, as near to sorted as records in their order allow.
  private func write() {
    let batch = waiting.withLock { waiting in
      let batch = waiting
      waiting.records = []
      waiting.packets = []
      waiting.bytes = []
      return batch
    }
    let writer = box.writer
    writer.noteLost(observations: batch.lostObservations, packets: batch.lostPackets)
    batch.bytes.withUnsafeBytes { bytes in
      var packets = batch.packets[...]
      func addPackets(until time: Int64) {
        while let packet = packets.first, packet.time <= time {
          packets.removeFirst()
          writer.addPacket(
            time: packet.time, linkType: packet.linkType, originalLength: packet.originalLength,
            isEssential: packet.isEssential,
            bytes: UnsafeRawBufferPointer(rebasing: bytes[packet.range]))
        }
      }
      for (time, record) in batch.records {
        addPackets(until: time.nanoseconds)
        writer.add(record, at: time)
      }
      addPackets(until: .max)
    }
    writer.flush()
    waiting.withLock { waiting in
      waiting.isSaving = writer.isSaving
      waiting.failure = writer.failure ?? waiting.failure
    }
  }
}
