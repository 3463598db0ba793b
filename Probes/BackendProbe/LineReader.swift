import Evidence
import LinuxHost

/// Reads the lines of one log.
struct LineReader {
  /// As the observations name it.
  var path: String
  var upstream: UpstreamPeer?
  var owner: ProcessIdentity?
  var stamps = LineStamp.Context()

  /// A line, taken apart.
  struct Line {
    /// What it says; nil when it says nothing of an end.
    var wording: Wording?
    var stamp: LineStamp?
    var envelope: Envelope
    var offset: UInt64
  }

  func read(_ bytes: ArraySlice<UInt8>, at offset: UInt64) -> Line? {
    var bytes = bytes
    if bytes.last == 13 { bytes = bytes.dropLast() }
    guard !bytes.isEmpty, let envelope = Envelope.open(bytes), !envelope.text.isEmpty else {
      return nil
    }
    let wording = envelope.text.withUnsafeBytes { Wording.read($0) }
    return Line(wording: wording, stamp: stamp(envelope), envelope: envelope, offset: offset)
  }

  private func stamp(_ envelope: Envelope) -> LineStamp? {
    if let received = envelope.received {
      return LineStamp(time: received, isWholeSecond: envelope.isWholeSecond)
    }
    return LineStamp.find(envelope.text[...], stamps)
  }

  /// The observation's fact.
  /// - Parameter kind: nil: as the line's own wording says.
  func fact(_ line: Line) -> BackendLine {
    let wording = line.wording ?? Wording(.unknown, .context)
    let text = line.envelope.text.withUnsafeBytes { Redaction.text(of: $0) }
    return BackendLine(
      program: wording.program, kind: wording.kind, pid: wording.pid ?? line.envelope.writer,
      signal: wording.signal, code: wording.code, limit: wording.limit,
      measured: wording.measured, peer: wording.peer, unit: wording.unit ?? line.envelope.unit,
      upstream: upstream, owner: owner, text: text, stamped: line.stamp?.time, path: path,
      offset: line.offset)
  }
}

/// Cuts what is read into lines.
struct LineCutter {
  /// Of a longer line the beginning is kept: it has the words.
  static let longest = 16 << 10

  private var pending: [UInt8] = []
  /// Of the first byte of what is pending.
  private(set) var offset: UInt64

  init(offset: UInt64 = 0) { self.offset = offset }

  /// Where the next byte will be read.
  private(set) var nextOffset: UInt64 = 0

  mutating func start(at offset: UInt64) {
    self = LineCutter(offset: offset)
    nextOffset = offset
  }

  mutating func take(
    _ bytes: UnsafeRawBufferPointer, _ body: (ArraySlice<UInt8>, UInt64) -> Void
  ) {
    var start = 0
    for index in 0..<bytes.count where bytes[index] == 10 {
      append(bytes, start..<index)
      start = index + 1
      finish(body, next: nextOffset + UInt64(start))
    }
    append(bytes, start..<bytes.count)
    nextOffset += UInt64(bytes.count)
  }

  /// Takes what is left as a line.
  mutating func settle(_ body: (ArraySlice<UInt8>, UInt64) -> Void) {
    finish(body, next: nextOffset)
  }

  private mutating func append(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) {
    let room = Self.longest - pending.count
    pending += bytes[range.prefix(room)]
  }

  private mutating func finish(_ body: (ArraySlice<UInt8>, UInt64) -> Void, next: UInt64) {
    if !pending.isEmpty { body(pending[...], offset) }
    pending.removeAll(keepingCapacity: true)
    offset = next
  }
}
