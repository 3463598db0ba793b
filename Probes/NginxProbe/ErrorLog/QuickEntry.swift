import Evidence
import Glibc

/// What a first look at an entry tells.
enum FirstLook {
  /// Its kind is known, and that it is no upstream failure: its fields were not looked at.
  case other(NginxMessage)
  /// An upstream failure in nginx's ordinary form: every field was found.
  case failure
  /// Anything else: only the whole grammar tells (`ScannedEntry`).
  case unusual
}

/// Reads entries in the form that nearly all have, in one pass and without a copy: a long log is read
/// at the speed of its bytes.
///
/// It claims a failure only where no other reading of the same bytes is possible: the message is
/// followed at once by errno and action, each value ends at its first quote, and behind that stands
/// the next field or nothing. What is not so plain is left to `ScannedEntry`; a test holds the two
/// against each other.
struct QuickEntry {
  /// When, with its second.
  private(set) var time = CivilTime()
  private(set) var level = LogLevel.error
  private(set) var pid: Int32 = 0
  private(set) var connection: UInt64?
  private(set) var kind = NginxMessage.other
  private(set) var errno: Int32?
  private(set) var message = 0..<0
  private(set) var action: Range<Int>?
  private(set) var client = 0..<0
  private(set) var server = 0..<0
  private(set) var request = 0..<0
  private(set) var upstream: Range<Int>?
  private(set) var host: Range<Int>?
  private var phrases = PhraseCache()
  /// Where the message starts.
  private(set) var start = 0
  private var knownTime: (first: UInt64, second: UInt64) = (0, 0)

  /// Looks at one entry, whose findings replace those of the one before.
  mutating func look(at bytes: UnsafeBufferPointer<UInt8>) -> FirstLook {
    guard let base = bytes.baseAddress, bytes.count >= 32 else { return .unusual }
    guard readHeader(base, bytes.count) else { return .unusual }
    guard let phrase = phrases.find(bytes, at: start) else {
      // Foreign words may stand before the ones that are known (`HOST could not be resolved`).
      return .unusual
    }
    switch phrase {
    case .none: return .other(.other)
    case .known(let text, let length):
      guard let length else { return .unusual }
      if let kind = text.kindOfItsOwn {
        // A path with a line feed may have put it there: then the true request has it encoded.
        return memchr(base + start, 0x25, bytes.count - start) == nil ? .other(kind) : .unusual
      }
      return readFields(base, bytes.count, text, from: start + length) ? .failure : .unusual
    }
  }

  // MARK: Header

  /// `TS [LEVEL] PID#TID: *CONN `
  private mutating func readHeader(_ base: UnsafePointer<UInt8>, _ count: Int) -> Bool {
    // Up to the minute stamps repeat themselves.
    let first = Word.at(base, 0)
    let second = Word.at(base, 8)
    if first != knownTime.first || second != knownTime.second {
      let stamp = UnsafeBufferPointer(start: base, count: CivilTime.length).span
      guard let civil = CivilTime(stamp) else { return false }
      knownTime = (first, second)
      time = civil
    } else {
      let tens = base[17] &- 48
      let ones = base[18] &- 48
      guard base[16] == 0x3a, tens < 6, ones < 10 else { return false }
      time.second = Int(tens * 10 + ones)
    }
    var position = CivilTime.length + 8
    switch Word.at(base, CivilTime.length) {
    case Word.error: level = .error
    case Word.info: level = .info
    case Word.warn: level = .warn
    case Word.notice: level = .notice
    case Word.crit: level = .crit
    case Word.alert: level = .alert
    case Word.emerg: level = .emerg
    case Word.debug: level = .debug
    default: return false
    }
    if level == .notice {
      guard base[position] == 0x5d else { return false }
      position += 1
    }
    if level != .info, level != .warn, level != .crit {
      guard base[position] == 0x20 else { return false }
      position += 1
    }
    return readNumbers(base, count, position)
  }

  private mutating func readNumbers(
    _ base: UnsafePointer<UInt8>, _ count: Int, _ start: Int
  ) -> Bool {
    var position = start
    guard let number = Self.number(base, count, &position), position < count, base[position] == 0x23
    else { return false }
    pid = Int32(truncatingIfNeeded: number)
    position += 1
    guard Self.number(base, count, &position) != nil, position + 2 < count,
      base[position] == 0x3a, base[position + 1] == 0x20
    else { return false }
    position += 2
    connection = nil
    if base[position] == 0x2a {
      position += 1
      guard let serial = Self.number(base, count, &position), position < count,
        base[position] == 0x20
      else { return false }
      connection = UInt64(serial)
      position += 1
    }
    self.start = position
    return true
  }

  /// A number of up to nine digits: a longer one is not plain.
  @inline(__always)
  private static func number(
    _ base: UnsafePointer<UInt8>, _ count: Int, _ position: inout Int
  ) -> Int? {
    let start = position
    var value = 0
    while position < count, case let digit = base[position] &- 48, digit < 10 {
      value = value &* 10 &+ Int(digit)
      position += 1
    }
    let length = position - start
    return length > 0 && length < 10 ? value : nil
  }

  // MARK: Fields

  private mutating func readFields(
    _ base: UnsafePointer<UInt8>, _ count: Int, _ text: KnownText, from end: Int
  ) -> Bool {
    var position = end
    guard readErrno(base, count, &position) else { return false }
    message = start..<end
    guard let comma = Self.find(0x2c, base, count, from: position) else { return false }
    action = nil
    if comma > position {
      // ` while ACTION`
      guard comma - position > 8,
        Word.at(base, position) & Word.firstSeven == Word.while
      else { return false }
      action = position + 7..<comma
    }
    position = comma
    guard count - position > 32, Word.at(base, position) == Word.client,
      base[position + 8] == 0x3a, base[position + 9] == 0x20,
      let server = Self.find(0x2c, base, count, from: position + 10)
    else { return false }
    client = position + 10..<server
    guard count - server > 24, Word.at(base, server) == Word.server, base[server + 8] == 0x3a,
      base[server + 9] == 0x20,
      let behind = Self.find(0x2c, base, count, from: server + 10)
    else { return false }
    self.server = server + 10..<behind
    // `, request: "`
    guard count - behind > 12, Word.at(base, behind) == Word.request,
      Word.at(base, behind + 4) == Word.requestEnd,
      let quote = Self.find(0x22, base, count, from: behind + 12)
    else { return false }
    request = behind + 12..<quote
    // ` HTTP/1.1`: only there a quote surely ends the request.
    guard request.count > 9, Word.at(base, quote - 9) & Word.firstSix == Word.http else {
      return false
    }
    guard readTail(base, count, from: quote) else { return false }
    // A `%` may be a line feed that was decoded elsewhere: see `EntryContext.isForged`.
    guard memchr(base + client.upperBound, 0x25, count - client.upperBound) == nil else {
      return false
    }
    return decideKind(base, count, text)
  }

  /// ` (ERRNO: TEXT)`
  private mutating func readErrno(
    _ base: UnsafePointer<UInt8>, _ count: Int, _ position: inout Int
  ) -> Bool {
    errno = nil
    guard position + 4 < count, base[position] == 0x20, base[position + 1] == 0x28 else {
      return true
    }
    var end = position + 2
    guard let number = Self.number(base, count, &end), end + 1 < count, base[end] == 0x3a,
      base[end + 1] == 0x20, let close = Self.find(0x29, base, count, from: end),
      close - end < 100, memchr(base + end, 0x28, close - end) == nil
    else { return false }
    errno = Int32(truncatingIfNeeded: number)
    position = close + 1
    return true
  }

  /// What stands behind the request's last quote: upstream, host, referrer, each or none.
  private mutating func readTail(
    _ base: UnsafePointer<UInt8>, _ count: Int, from start: Int
  ) -> Bool {
    upstream = nil
    host = nil
    var position = start + 1
    if count - position > 13, Word.at(base, position) == Word.upstream,
      Word.at(base, position + 5) == Word.upstreamEnd
    {
      guard let end = Self.find(0x22, base, count, from: position + 13) else { return false }
      upstream = position + 13..<end
      position = end + 1
    }
    if count - position > 9, Word.at(base, position) == Word.host, base[position + 8] == 0x22 {
      guard let end = Self.find(0x22, base, count, from: position + 9) else { return false }
      host = position + 9..<end
      position = end + 1
    }
    if position == count { return true }
    return count - position > 14 && Word.at(base, position) == Word.referrer
      && Word.at(base, position + 5) == Word.referrerEnd && base[count - 1] == 0x22
  }

  private mutating func decideKind(
    _ base: UnsafePointer<UInt8>, _ count: Int, _ text: KnownText
  ) -> Bool {
    let bytes = UnsafeBufferPointer(start: base, count: count).span
    let phase = ActionPhase(bytes, action)
    // Words that are none of nginx's actions belong to the message.
    if phase == .other, action != nil { return false }
    let isSendingToClient = action.map { $0.count == 17 && base[$0.lowerBound] == 0x73 } ?? false
    kind = NginxMessage(
      text,
      LineTraits(
        level: level, phase: phase, isSendingToClient: isSendingToClient, hasErrno: errno != nil,
        hasClient: true, hasUpstream: upstream != nil, isStream: false))
    return kind.isUpstreamFailure
  }

  @inline(__always)
  private static func find(
    _ byte: Int32, _ base: UnsafePointer<UInt8>, _ count: Int, from start: Int
  ) -> Int? {
    guard start < count, let found = memchr(base + start, byte, count - start) else { return nil }
    return UnsafeRawPointer(found) - UnsafeRawPointer(base)
  }
}

extension KnownText {
  /// The kind of a text that means the same in every line; nil when more must be known.
  fileprivate var kindOfItsOwn: NginxMessage? {
    switch self {
    case .clientReported: .clientClosed
    case .temporarilyDisabled: .temporarilyDisabled
    case .extraData: .extraData
    default: nil
    }
  }
}

/// The phrases that were found last, by the sixteen bytes that their messages start with: a log says
/// the same few things.
private struct PhraseCache {
  enum Found {
    /// No text that is known, whatever stands behind.
    case none
    /// With the length of its fixed text; nil when it runs on with foreign words.
    case known(KnownText, length: Int?)
  }

  private struct Slot {
    var first: UInt64 = 0
    var second: UInt64 = 0
    var words: StaticString = ""
    /// Where the words stand in the message.
    var skip = 0
    var found = Found.none
  }

  private static let count = 64
  private var slots = [Slot](repeating: Slot(), count: count)

  /// Nil when the first words do not tell.
  @inline(__always)
  mutating func find(_ bytes: UnsafeBufferPointer<UInt8>, at start: Int) -> Found? {
    guard let base = bytes.baseAddress, start + 16 <= bytes.count else { return nil }
    let first = Word.at(base, start)
    let second = Word.at(base, start + 8)
    let index = Int(
      truncatingIfNeeded: ((first ^ second &* 31) &* 0x9e37_79b9_7f4a_7c15) >> 58)
    let slot = slots[index]
    if slot.first == first, slot.second == second {
      let length = slot.words.utf8CodeUnitCount
      if start + slot.skip + length <= bytes.count,
        memcmp(base + start + slot.skip, slot.words.utf8Start, length) == 0
      {
        return slot.found
      }
    }
    return recognizeAnew(bytes, start, first, second, index)
  }

  private mutating func recognizeAnew(
    _ bytes: UnsafeBufferPointer<UInt8>, _ start: Int, _ first: UInt64, _ second: UInt64,
    _ index: Int
  ) -> Found? {
    guard let known = recognize(bytes.span, at: start) else { return Found.none }
    // A text that is found by what stands further behind is not told by its first bytes.
    guard let words = known.words else { return nil }
    let found = Found.known(known.text, length: known.end.map { $0 - start })
    let skip = known.end.map { $0 - start - words.utf8CodeUnitCount } ?? 0
    if known.end != nil {
      slots[index] = Slot(first: first, second: second, words: words, skip: skip, found: found)
    }
    return found
  }
}

extension ScannedEntry {
  /// The failure that a quick look found, in the form of the whole grammar.
  init(_ quick: QuickEntry) {
    let header = EntryHeader(
      time: quick.time, level: quick.level, pid: quick.pid, connection: quick.connection,
      end: quick.start)
    var context = EntryContext(message: quick.message)
    context.action = quick.action
    context.client = quick.client
    context.server = quick.server
    context.request = quick.request
    context.upstream = quick.upstream
    context.host = quick.host
    self.init(header: header, context: context, errno: quick.errno, kind: quick.kind)
  }
}
