import CPcap
import CaptureFile
import Evidence
import Glibc
import LinuxHost

/// The capture thread's work.
final class CaptureLoop: @unchecked Sendable {
  // Made in one thread and used in the one that runs it.
  private let session: CaptureSession
  private var budget: CaptureBudget?
  private let host: String
  private let sink: ObservationSink
  fileprivate var tracker: Tracker
  fileprivate var linkType: LinkType
  fileprivate var unit: Int64
  /// Drops of captures that were opened before this one.
  private var earlierDrops: (kernel: UInt64, interface: UInt64) = (0, 0)
  private var lastDrops: (kernel: UInt64, interface: UInt64) = (0, 0)

  init(
    session: CaptureSession, mode: CaptureMode, options: TrackerOptions, keeper: HeaderKeeper?,
    host: String, sink: @escaping ObservationSink
  ) {
    self.session = session
    if mode == .auto { budget = CaptureBudget() }
    self.host = host
    self.sink = sink
    linkType = session.capture.linkType
    unit = session.capture.hasNanoseconds ? 1 : 1000
    tracker = Tracker(options: options, keeper: keeper) { connection in
      let time = connection.closedAt ?? connection.lastPacket
      sink(
        Observation(
          host: host, time: TimeEstimate(exactly: time), fact: .connection(connection)))
    }
    if session.isLight { tracker.goLight() }
  }

  /// Between drains while packets come: long enough to take many at once and to leave nginx its
  /// core, short against the ring (10 ms at half a million packets a second are a tenth of it).
  private static let busyPause: Int32 = 10
  /// Between looks at the upstreams while nothing comes.
  private static let idlePause: Int32 = 100

  func run(_ thread: ProbeThread, _ changes: () -> UpstreamChange?) {
    var nextBooks = currentTime().nanoseconds + 1_000_000_000
    if session.isLight {
      tell(Self.lightSpot("only SYN, FIN and RST were captured, as asked"))
    }
    while !thread.shouldStop {
      if let change = changes() { watch(change.upstreams) }
      let before = currentTime()
      let count = drain()
      if count < 0 {
        if !recover(thread) { break }
        continue
      }
      // Whatever was captured before this moment has been seen.
      tracker.advance(to: before.nanoseconds)
      if before.nanoseconds >= nextBooks {
        nextBooks = before.nanoseconds + 1_000_000_000
        tellBooks(before)
        keepBudget()
      }
      pause(thread, hadPackets: count > 0, before.nanoseconds)
    }
    if drain() >= 0 { tracker.advance(to: currentTime().nanoseconds) }
    tracker.finish()
    tellBooks(currentTime())
  }

  /// Sleeps: a few milliseconds after packets, else until one comes or something is due.
  private func pause(_ thread: ProbeThread, hadPackets: Bool, _ now: Int64) {
    var descriptors = (
      pollfd(fd: thread.wake, events: Int16(POLLIN), revents: 0),
      pollfd(fd: session.capture.descriptor, events: Int16(POLLIN), revents: 0)
    )
    var milliseconds = Self.busyPause
    var count: nfds_t = 1
    if !hadPackets {
      count = 2
      milliseconds = Self.idlePause
      let due = tracker.timers.next
      if due < now + Int64(Self.idlePause) * 1_000_000 {
        milliseconds = Int32(max(1, (due - now) / 1_000_000 + 1))
      }
    }
    withUnsafeMutablePointer(to: &descriptors) { pointer in
      _ = pointer.withMemoryRebound(to: pollfd.self, capacity: 2) {
        poll($0, count, milliseconds)
      }
    }
  }

  /// - Returns: packets taken; negative when the capture broke.
  private func drain() -> Int {
    var total = 0
    while total < 1 << 16 {
      let count = session.capture.dispatch(
        takePacket, Unmanaged.passUnretained(self).toOpaque(), most: 4096)
      if count < 0 { return -1 }
      if count == 0 { break }
      total += Int(count)
    }
    return total
  }

  private func watch(_ upstreams: UpstreamFilter?) {
    tracker.options.upstreams = upstreams
    do throws(ProbeError) {
      try session.watch(upstreams)
    } catch {
      tell(
        BlindSpot(
          id: "capture-filter", what: "the new upstreams are not captured: \(error)",
          cost: "their connections are not seen"))
    }
  }

  /// The interface disappeared: says so, and waits until it is back.
  /// - Returns: whether to go on.
  private func recover(_ thread: ProbeThread) -> Bool {
    let reason = session.capture.errorMessage
    let device = session.settings.device
    earlierDrops.kernel += lastDrops.kernel
    earlierDrops.interface += lastDrops.interface
    lastDrops = (0, 0)
    tell(
      BlindSpot(
        id: captureStoppedBlindSpot, what: "capture on \(device) stopped: \(reason)",
        cost: "closes are not seen until it is back"))
    while thread.sleep(milliseconds: 500) {
      tracker.advance(to: currentTime().nanoseconds)
      do throws(ProbeError) {
        try session.reopen()
        linkType = session.capture.linkType
        unit = session.capture.hasNanoseconds ? 1 : 1000
        tracker.missedPackets(until: currentTime().nanoseconds)
        return true
      } catch {
        continue
      }
    }
    return false
  }

  // MARK: Light

  /// Goes light when headers cost too much, and back when it is time to try again.
  private func keepBudget() {
    guard var budget else { return }
    var clocks = (timespec(), timespec())
    clock_gettime(CLOCK_MONOTONIC, &clocks.0)
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &clocks.1)
    func seconds(_ time: timespec) -> Double { Double(time.tv_sec) + Double(time.tv_nsec) / 1e9 }
    let decision = budget.judge(
      CaptureBudget.Usage(
        time: seconds(clocks.0), cpu: seconds(clocks.1), seen: tracker.counters.packets,
        dropped: earlierDrops.kernel + lastDrops.kernel))
    self.budget = budget
    guard let decision else { return }
    // What was captured under the old filter is taken first.
    _ = drain()
    do throws(ProbeError) {
      switch decision {
      case .goLight(let reason):
        try session.setLight(true)
        tracker.goLight()
        let time = currentTime().iso8601(offset: 0, digits: 0)
        tell(
          Self.lightSpot(
            "from \(time), for \(budget.pauseSeconds) s, only SYN, FIN and RST were captured: "
              + reason))
      case .goFull:
        try session.setLight(false)
        tracker.goFull(at: currentTime().nanoseconds)
      }
    } catch {
      tell(
        BlindSpot(
          id: "capture-filter", what: "the capture's mode could not be changed: \(error)",
          cost: "packets may be lost"))
    }
  }

  private static func lightSpot(_ what: String) -> BlindSpot {
    BlindSpot(
      id: lightCaptureBlindSpot, what: what,
      cost: "no idle times, requests or phases: stale-keepalive, closed-without-response and "
        + "truncated-response are not told apart by packets; who closed or reset, and what was "
        + "refused, is as sure as ever",
      remedy: "--capture headers")
  }

  private func tell(_ spot: BlindSpot) {
    sink(
      Observation(
        host: host, time: TimeEstimate(exactly: currentTime()), fact: .blindSpot(spot)))
  }

  private func tellBooks(_ now: Timestamp) {
    for closes in tracker.ordinary.take() {
      sink(
        Observation(host: host, time: TimeEstimate(exactly: now), fact: .ordinaryCloses(closes)))
    }
    for gaps in tracker.reuse.take() {
      sink(Observation(host: host, time: TimeEstimate(exactly: now), fact: .reuseGaps(gaps)))
    }
    for times in tracker.reuse.takeAnswers() {
      sink(Observation(host: host, time: TimeEstimate(exactly: now), fact: .responseTimes(times)))
    }
    lastDrops = session.capture.drops
    let kernel = earlierDrops.kernel + lastDrops.kernel
    let interface = earlierDrops.interface + lastDrops.interface
    let books = tracker.counters
    sink(
      Observation(
        host: host, time: TimeEstimate(exactly: now),
        fact: .counters(
          Counters(
            source: "packets", seen: books.packets, lost: kernel + interface,
            details: [
              "kernel drops": kernel, "interface drops": interface, "evicted": books.evicted,
              "duplicates": books.duplicates, "fragments": books.fragments,
              "connections": books.connections, "truncated": books.truncated,
              "malformed": books.malformed, "tunnels": books.tunnels,
            ]))))
  }
}

private func takePacket(
  _ context: UnsafeMutablePointer<UInt8>?, _ header: UnsafePointer<pcap_pkthdr>?,
  _ bytes: UnsafePointer<UInt8>?
) {
  guard let context, let header, let bytes else { return }
  let loop = Unmanaged<CaptureLoop>.fromOpaque(context).takeUnretainedValue()
  let time = header.pointee.ts
  loop.tracker.process(
    CapturedPacket(
      time: Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_usec) &* loop.unit,
      interface: 0, linkType: loop.linkType, originalLength: header.pointee.len,
      bytes: UnsafeRawBufferPointer(start: bytes, count: Int(header.pointee.caplen))))
}
