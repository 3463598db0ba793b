import Evidence

/// An entry with its fields found but not copied: what can be asked of every line of a long log.
struct ScannedEntry {
  let header: EntryHeader
  let context: EntryContext
  let errno: Int32?
  let kind: NginxMessage

  init(header: EntryHeader, context: EntryContext, errno: Int32?, kind: NginxMessage) {
    self.header = header
    self.context = context
    self.errno = errno
    self.kind = kind
  }

  /// Nil when these bytes are no entry.
  init?(_ bytes: Span<UInt8>) {
    guard let header = EntryHeader(bytes) else { return nil }
    let known = recognize(bytes, at: header.end)
    var context = EntryContext(bytes, message: header.end, fixedEnd: known?.end)
    errno = known?.text == .nameResolution ? nil : Self.takeErrno(bytes, &context.message)
    if let known, !context.isForged(bytes) {
      kind = NginxMessage(known.text, Self.traits(bytes, header, context, errno))
    } else {
      kind = .other
    }
    self.header = header
    self.context = context
  }

  private static func traits(
    _ bytes: Span<UInt8>, _ header: EntryHeader, _ context: EntryContext, _ errno: Int32?
  ) -> LineTraits {
    let isSendingToClient = context.action.map { bytes.has("sending to client", at: $0.lowerBound) }
    return LineTraits(
      level: header.level, phase: ActionPhase(bytes, context.action),
      isSendingToClient: isSendingToClient ?? false, hasErrno: errno != nil,
      hasClient: context.client != nil, hasUpstream: context.upstream != nil,
      isStream: context.isStream)
  }

  /// Takes ` (ERRNO: TEXT)` off the end of a message.
  private static func takeErrno(_ bytes: Span<UInt8>, _ message: inout Range<Int>) -> Int32? {
    guard let last = message.last, bytes[last] == UInt8(ascii: ")"),
      let open = bytes.last(" (", in: message)
    else { return nil }
    var position = open + 2
    guard let number = bytes.number(at: &position), bytes.has(": ", at: position),
      let errno = Int32(exactly: number)
    else { return nil }
    message = message.lowerBound..<open
    return errno
  }
}
