import Evidence
import Glibc
import LinuxHost

/// The trace probe's thread: reads every CPU's pages and puts their events in order.
struct TraceReader {
  let host: String
  let instance: TraceInstance
  let decoder: TraceDecoder
  let layout: TracePageLayout
  let inbox: TraceInbox
  let sink: ObservationSink
  private var interpreter: TraceInterpreter
  /// Read, and younger than the start of the round: another CPU's may still precede it.
  private var early: [TraceEvent] = []
  private var seen: UInt64 = 0
  private var malformed: UInt64 = 0
  private var counted = Counters(source: "trace", seen: 0, lost: 0)
  private var toldLoss = false

  /// Between two looks: what a burst can wait, and a process's table entry mostly lives.
  private static let pause: Int32 = 10

  init(
    host: String, instance: TraceInstance, decoder: TraceDecoder, layout: TracePageLayout,
    inbox: TraceInbox, interpreter: TraceInterpreter, sink: @escaping ObservationSink
  ) {
    self.host = host
    self.instance = instance
    self.decoder = decoder
    self.layout = layout
    self.inbox = inbox
    self.interpreter = interpreter
    self.sink = sink
  }

  mutating func run(_ thread: ProbeThread) {
    let page = UnsafeMutableRawBufferPointer.allocate(byteCount: layout.size, alignment: 8)
    defer { page.deallocate() }
    var nextCount = Self.now() + 1_000_000_000
    while !thread.shouldStop {
      // The first event wakes at once; those behind it are taken together.
      let wait = early.isEmpty ? Int32(500) : 1
      thread.waitReadable(instance.pages, milliseconds: wait)
      round(page)
      if Self.now() >= nextCount {
        nextCount = Self.now() + 1_000_000_000
        count()
      }
      if !thread.sleep(milliseconds: Self.pause) { break }
    }
    round(page)
    tell(early)
    early = []
    count()
  }

  private mutating func round(_ page: UnsafeMutableRawBufferPointer) {
    takeInbox()
    let start = Self.now()
    var events = early
    for descriptor in instance.pages { read(descriptor, page, into: &events) }
    // Stable: what one CPU wrote at one time stays in its order.
    events.sort { $0.time < $1.time }
    let count = events.partitioningIndex { $0.time > start }
    early = Array(events[count...])
    tell(events[..<count])
    interpreter.sweep(before: start > 100_000_000 ? start - 100_000_000 : 0)
  }

  private mutating func read(
    _ descriptor: Int32, _ page: UnsafeMutableRawBufferPointer, into events: inout [TraceEvent]
  ) {
    // A CPU that writes as fast as we read must not keep us from the others.
    for _ in 0..<1024 {
      let count = Glibc.read(descriptor, page.baseAddress, page.count)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return }
      var unknown: UInt64 = 0
      let bytes = UnsafeRawBufferPointer(rebasing: page[..<count])
      let read = TracePage(bytes, layout) { time, record in
        if let event = decoder.event(record, at: time) {
          events.append(event)
        } else {
          unknown += 1
        }
      }
      if read.isMalformed { malformed += 1 }
      seen += unknown
    }
  }

  private mutating func tell(_ events: some Collection<TraceEvent>) {
    guard !events.isEmpty else { return }
    let offset = currentTime().nanoseconds - Int64(truncatingIfNeeded: Self.now())
    for event in events {
      seen += 1
      guard let fact = interpreter.interpret(event) else { continue }
      let time = Timestamp(nanoseconds: Int64(truncatingIfNeeded: event.time) &+ offset)
      sink(Observation(host: host, time: TimeEstimate(exactly: time), fact: fact))
    }
  }

  private mutating func takeInbox() {
    let (endpoints, processes) = inbox.take()
    for process in processes { interpreter.know(process) }
    guard let endpoints else { return }
    interpreter.watch(endpoints)
    let ports = Set(endpoints.map(\.port))
    for (event, format) in decoder.formats {
      _ = instance.filter(event.rawValue, TraceFilter.text(event, format, ports: ports))
    }
  }

  private mutating func count() {
    let lost = instance.lost()
    var details = interpreter.counters
    if malformed > 0 { details["malformed pages"] = malformed }
    let counters = Counters(source: "trace", seen: seen, lost: lost, details: details)
    if lost > 0, !toldLoss {
      toldLoss = true
      emit(.blindSpot(Self.lossBlindSpot(lost)))
    }
    guard counters != counted else { return }
    counted = counters
    emit(.counters(counters))
  }

  static func lossBlindSpot(_ lost: UInt64) -> BlindSpot {
    BlindSpot(
      id: "trace-overrun",
      what: "the kernel overwrote \(lost) tracing events before they were read",
      cost: "the owner of a short connection, or who sent a signal, may be missing")
  }

  private func emit(_ fact: Observation.Fact) {
    sink(Observation(host: host, time: TimeEstimate(exactly: currentTime()), fact: fact))
  }

  /// The clock of the events.
  private static func now() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}

extension Array {
  /// The first element of a sorted array for which something holds, and holds for all behind it.
  fileprivate func partitioningIndex(_ belongs: (Element) -> Bool) -> Int {
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      if belongs(self[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
