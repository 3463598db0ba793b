import Evidence
import Glibc
import LinuxHost

extension KernelLogFile {
  /// Reads a file line by line: it may be larger than memory.
  struct Reader {
    let file: KernelLogFile
    let context: KernelLogLine.Context
    var content = Content()
    private var assembler = KernelEventAssembler()
    /// Named by the journal.
    private var host: String

    /// The longest line that is read; a longer one is no kernel's.
    static let longestLine = 1 << 20
    /// `dmesg --json` is one document. The log behind it holds at most a few MiB.
    static let largestDocument = 64 << 20

    init(file: KernelLogFile, context: KernelLogLine.Context) {
      self.file = file
      self.context = context
      host = file.host
    }

    mutating func read(_ descriptor: Int32) {
      var pending: [UInt8] = []
      var consumed = 0
      var chunk = [UInt8](repeating: 0, count: 256 << 10)
      var isDocument: Bool?
      while true {
        let count = Glibc.read(descriptor, &chunk, chunk.count)
        if count < 0, errno == EINTR { continue }
        if count < 0 {
          content.error = file.failure(at: consumed + pending.count, errorText(errno))
          break
        }
        if count == 0 { break }
        pending += chunk[..<count]
        if isDocument == nil { isDocument = Self.isDmesgDocument(pending) }
        if isDocument == true {
          if pending.count > Self.largestDocument {
            content.error = file.failure(
              at: pending.count, "larger than \(Self.largestDocument >> 20) MiB of dmesg's JSON")
            break
          }
          continue
        }
        guard takeLines(&pending, &consumed) else {
          pending = []
          break
        }
      }
      if isDocument == true {
        document(pending)
      } else if !pending.isEmpty {
        line(pending[...], at: consumed)
      }
      yield(assembler.flush())
    }

    /// Takes whole lines off the front.
    /// - Returns: whether to go on.
    private mutating func takeLines(_ pending: inout [UInt8], _ consumed: inout Int) -> Bool {
      var start = pending.startIndex
      while let end = pending[start...].firstIndex(of: UInt8(ascii: "\n")) {
        line(pending[start..<end], at: consumed + start)
        start = end + 1
      }
      consumed += start
      pending.removeFirst(start)
      if pending.count > Self.longestLine {
        content.error = file.failure(at: consumed, "a line longer than 1 MiB: not a kernel log")
        return false
      }
      return true
    }

    private mutating func line(_ bytes: ArraySlice<UInt8>, at offset: Int) {
      var bytes = bytes
      if bytes.last == UInt8(ascii: "\r") { bytes = bytes.dropLast() }
      if bytes.isEmpty { return }
      content.lines += 1
      if bytes.first == UInt8(ascii: "{") {
        journal(bytes, at: offset)
        return
      }
      switch KernelLogLine.read(bytes, context) {
      case .line(let line): consume(line)
      case .skipped: break
      case .notParsed: content.linesNotParsed += 1
      }
    }

    fileprivate mutating func consume(_ line: KernelLogLine) {
      let time: TimeEstimate? =
        switch line.time {
        case .wall(let time): time
        case .sinceBoot(let microseconds): file.bootTime.map { Self.time($0, microseconds) }
        }
      yield(
        assembler.consume(
          line.text, isFragment: line.isFragment,
          stamp: KernelStamp(time: time, sequence: line.sequence)))
    }

    /// A boot time and the kernel's clock: off by where that clock began, and by what NTP slewed.
    private static func time(_ boot: Timestamp, _ microseconds: UInt64) -> TimeEstimate {
      let age = TimeSpan.microseconds(Int64(clamping: microseconds))
      return TimeEstimate(
        boot + age,
        within: KernelClock.assumedOffset + TimeSpan(nanoseconds: age.nanoseconds / 10_000))
    }

    private mutating func yield(_ assembled: [KernelEventAssembler.Assembled]) {
      for item in assembled {
        content.entries.append(Entry(event: item.event, time: item.stamp.time, host: host))
      }
    }
  }
}

extension KernelLogFile.Reader {
  /// An entry of `journalctl -o json`.
  private mutating func journal(_ bytes: ArraySlice<UInt8>, at offset: Int) {
    var reader = JSONReader(bytes)
    let entry: ParsedJSON
    do throws(ParsedJSON.Failure) {
      entry = try reader.value()
    } catch {
      fail(file.failure(at: offset + error.offset, error.reason))
      content.linesNotParsed += 1
      return
    }
    guard let text = entry["MESSAGE"]?.bytes else {
      content.linesNotParsed += 1
      return
    }
    // Programs write to the kernel's log, too; the journal then names them.
    if let facility = entry["SYSLOG_FACILITY"]?.integer, facility != 0 { return }
    if let transport = entry["_TRANSPORT"]?.bytes, !transport.elementsEqual("kernel".utf8) {
      return
    }
    guard let microseconds = entry["__REALTIME_TIMESTAMP"]?.integer else {
      content.linesNotParsed += 1
      return
    }
    if let name = entry["_HOSTNAME"]?.bytes, !name.isEmpty {
      host = String(escapingControlsIn: name)
    }
    let received = Timestamp(nanoseconds: Int64(clamping: microseconds) &* 1000)
    var time = TimeEstimate(best: received, earliest: received - .seconds(1), latest: received)
    // How long the record waited for journald; the two clocks differ by little.
    if let written = entry["_SOURCE_MONOTONIC_TIMESTAMP"]?.integer,
      let read = entry["__MONOTONIC_TIMESTAMP"]?.integer, read > written
    {
      let wait = TimeSpan.microseconds(Int64(clamping: read - written))
      let best = received - wait
      time = TimeEstimate(
        best: best, earliest: best - KernelClock.assumedOffset,
        latest: min(best + KernelClock.assumedOffset, received))
    }
    let line = KernelLogLine(time: .wall(time), text: text)
    consume(line)
  }

  /// The document of `dmesg --json`.
  fileprivate mutating func document(_ bytes: [UInt8]) {
    var reader = JSONReader(bytes[...])
    do throws(ParsedJSON.Failure) {
      try reader.openArray(named: "dmesg")
      while let record = try reader.nextItem() { dmesg(record) }
    } catch {
      fail(file.failure(at: error.offset, error.reason))
    }
  }

  private mutating func dmesg(_ record: ParsedJSON) {
    content.lines += 1
    // `pri` is the level alone, or with the facility in it; `-x` writes `fac` as a name.
    if let facility = record["fac"]?.bytes, !facility.elementsEqual("kern".utf8) { return }
    if let priority = record["pri"]?.integer, priority >> 3 != 0 { return }
    guard case .number(let digits)? = record["time"],
      let time = KernelLogLine.microseconds(digits[...]), let text = record["msg"]?.bytes
    else {
      content.linesNotParsed += 1
      return
    }
    consume(KernelLogLine(time: .sinceBoot(time), text: text))
  }

  /// The first error is the one that is told.
  private mutating func fail(_ error: ProbeError) {
    if content.error == nil { content.error = error }
  }

  fileprivate static func isDmesgDocument(_ bytes: [UInt8]) -> Bool {
    let start = bytes.drop { [32, 9, 10, 13].contains($0) }
    guard start.first == UInt8(ascii: "{") else { return false }
    let name = start.dropFirst().drop { [32, 9, 10, 13].contains($0) }
    return name.starts(with: "\"dmesg\"".utf8)
  }
}
