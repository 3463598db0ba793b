import Evidence
import Glibc
import LinuxHost

/// Reads `/dev/kmsg` on the probe's thread.
struct KmsgFollower {
  let descriptor: Int32
  let path: String
  let host: String
  let history: TimeSpan?
  let proc: String
  let sink: ObservationSink

  private var assembler = KernelEventAssembler()
  private var clock = KernelClock()
  private var expected: UInt64?
  private var isLive = false
  private var counters = Counters(source: "kernel", seen: 0, lost: 0)
  private var counted = Counters(source: "kernel", seen: 0, lost: 0)

  init(
    descriptor: Int32, path: String, host: String, history: TimeSpan?, proc: String,
    sink: @escaping ObservationSink
  ) {
    self.descriptor = descriptor
    self.path = path
    self.host = host
    self.history = history
    self.proc = proc
    self.sink = sink
  }

  mutating func run(_ thread: ProbeThread) {
    reportSilencedFaults()
    var buffer = [UInt8](repeating: 0, count: 16 << 10)
    var lastCount = KernelClock.now().raw
    reading: while !thread.shouldStop {
      switch readOnce(&buffer) {
      case .data:
        break
      case .none(let isEndOfFile):
        yield(assembler.flush())
        isLive = true
        // A file that is only a file is always readable: do not spin on its end.
        if isEndOfFile {
          if !thread.sleep(milliseconds: 100) { break reading }
        } else {
          thread.waitReadable([descriptor], milliseconds: 1000)
        }
      case .failed(let code):
        let error = ProbeError(doing: "read \(path)", reason: errorText(code))
        emit(.blindSpot(KernelProbe.blindSpot(error)))
        break reading
      }
      let now = KernelClock.now().raw
      if now - lastCount >= .seconds(1) {
        lastCount = now
        count()
      }
    }
    yield(assembler.flush())
    count()
  }

  private enum Outcome {
    case data
    case none(isEndOfFile: Bool)
    case failed(Int32)
  }

  private mutating func readOnce(_ buffer: inout [UInt8]) -> Outcome {
    let size = read(descriptor, &buffer, buffer.count)
    if size > 0 {
      consume(buffer[..<size])
      return .data
    }
    if size == 0 { return .none(isEndOfFile: true) }
    switch errno {
    case EPIPE:
      // Overwritten before it was read; the next record's number tells how many are gone.
      return .data
    case EINTR: return .data
    case EAGAIN: return .none(isEndOfFile: false)
    default: return .failed(errno)
    }
  }

  private mutating func consume(_ bytes: ArraySlice<UInt8>) {
    let arrival = KernelClock.now()
    let (records, malformed) = KmsgRecord.records(in: bytes)
    if malformed > 0 { counters.details["not parsed", default: 0] += UInt64(malformed) }
    for record in records {
      if let expected, record.sequence > expected { reportGap(record.sequence - expected) }
      expected = record.sequence &+ 1
      counters.seen += 1
      // The clock is set by every record, also by a program's.
      let time =
        isLive
        ? clock.live(record.microseconds, arrival: arrival)
        : clock.past(record.microseconds, now: arrival)
      guard record.facility == 0 else {
        counters.details["written by programs", default: 0] += 1
        continue
      }
      if !isLive, let history, time.latest < arrival.realtime - history {
        // Too old to be told, yet it may begin what is told.
        _ = assembler.consume(
          record.text, isFragment: record.isFragment,
          stamp: KernelStamp(time: nil, sequence: record.sequence))
        continue
      }
      yield(
        assembler.consume(
          record.text, isFragment: record.isFragment,
          stamp: KernelStamp(time: time, sequence: record.sequence)))
    }
  }

  private mutating func yield(_ assembled: [KernelEventAssembler.Assembled]) {
    for item in assembled {
      guard let time = item.stamp.time else { continue }
      counters.details["events", default: 0] += 1
      var event = item.event
      if isLive, case .fault(var fault) = event.kind, let process = process(ofThread: fault.pid) {
        fault.pid = process
        event.kind = .fault(fault)
      }
      sink(Observation(host: host, time: time, fact: .kernel(event)))
    }
  }

  /// The kernel names the thread that faulted; the process is what owns sockets. It is mostly still
  /// there, since it is told before it is torn down.
  private func process(ofThread thread: Int32) -> Int32? {
    guard let bytes = try? readFile("\(proc)/\(thread)/status", limit: 4096) else { return nil }
    for line in bytes.split(separator: UInt8(ascii: "\n")) where line.starts(with: "Tgid:".utf8) {
      let digits = line.dropFirst(5).drop { $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: " ") }
      return decimal(digits).flatMap { Int32(exactly: $0) }
    }
    return nil
  }

  private mutating func reportGap(_ lost: UInt64) {
    counters.lost += lost
    emit(
      .blindSpot(
        BlindSpot(
          id: "kernel-log-overwritten",
          what: "\(lost) records of the kernel's log were overwritten before they were read",
          cost: "an out-of-memory kill or a crash among them is not known",
          remedy: "enlarge the log (kernel parameter log_buf_len=4M)")))
  }

  /// Faults are told only while `debug.exception-trace` is on: the default of x86, not of arm64.
  private func reportSilencedFaults() {
    guard let bytes = try? readFile("\(proc)/sys/debug/exception-trace", limit: 16),
      bytes.first == UInt8(ascii: "0")
    else { return }
    emit(
      .blindSpot(
        BlindSpot(
          id: "kernel-log-faults", what: "the kernel does not log faults of programs",
          cost: "a crash is seen only as the end of its process",
          remedy: "sysctl debug.exception-trace=1")))
  }

  private mutating func count() {
    guard counters != counted else { return }
    counted = counters
    emit(.counters(counters))
  }

  private func emit(_ fact: Observation.Fact) {
    sink(Observation(host: host, time: TimeEstimate(exactly: currentTime()), fact: fact))
  }
}
