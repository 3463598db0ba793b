import CLinux
import Correlator
import Evidence
import Glibc
import LinuxHost
import PacketProbe
import Report

/// A live session: takes what the probes see, lets the correlator judge it, prints incidents as they
/// stand, and ends at a signal, after a time, or when it is told to.
final class LiveSession {
  /// How much later than its own time an observation may arrive.
  private static let lateness = TimeSpan.milliseconds(100)
  /// How long is waited at the end for closes whose errors are already there.
  private static let draining = TimeSpan.milliseconds(400)

  private let probes: [any Probe]
  private let inbox: Inbox
  private let printer: SessionPrinter
  private let duration: TimeSpan?
  private let signals: Int32
  private let recorder: Recorder?
  private let trails: TrailStore?
  private var correlator = Correlator()
  private var view: LiveView
  private var textfile: Textfile?
  /// When the view was drawn; nil: it has been taken away since.
  private var lastDrawn: Timestamp?
  private var incidents = 0
  private var errors: UInt64 = 0
  private var packets = Counters(source: "packets", seen: 0, lost: 0)
  /// Called for each observation before the correlator sees it: a reload changes what is watched.
  var onObservation: (Observation) -> Void = { _ in }
  /// Called with each incident as it stands, and again when it is revised.
  var onIncident: (Incident) -> Void = { _ in }

  /// - Parameters:
  ///   - probes: opened, not yet started.
  ///   - view: what is shown at the bottom of a terminal.
  ///   - textfile: where metrics go; nil: nowhere.
  ///   - signals: a descriptor for SIGINT and SIGTERM, which must be blocked in every thread.
  ///   - recorder: gets all that the correlator gets, and what it gives; started, and ended here.
  ///   - trails: has the packets of incidents.
  init(
    probes: [any Probe], inbox: Inbox, printer: SessionPrinter, duration: TimeSpan?,
    view: LiveView, textfile: Textfile? = nil, signals: Int32, recorder: Recorder? = nil,
    trails: TrailStore? = nil
  ) {
    self.probes = probes
    self.inbox = inbox
    self.printer = printer
    self.duration = duration
    self.signals = signals
    self.recorder = recorder
    self.trails = trails
    self.view = view
    self.textfile = textfile
    printer.keepsFacts = printer.keepsFacts || view.wantsTable || textfile != nil
  }

  /// Adds what was known before the probes started: the configuration, the blind spots.
  func observe(_ observation: Observation) {
    recorder?.record(observation)
    correlator.observe(observation)
    printer.observe(observation)
  }

  /// Runs until it is over.
  /// - Parameters:
  ///   - end: becomes readable when the session is to end; nil: never.
  ///   - failure: asked each round; a reason ends the session.
  /// - Returns: the summary, also printed.
  func run(end: Int32? = nil, failure: () -> String?) -> Summary {
    let started = currentTime()
    var isEnding: Timestamp?
    var isHurried = false
    while true {
      let woken = wait(end)
      let now = currentTime()
      if woken.signal {
        // A second Ctrl-C waits for nothing more; what a long session has learned is said all the same.
        if isEnding != nil { isHurried = true }
        isEnding = isEnding ?? now
      }
      if woken.end, isEnding == nil { isEnding = now }
      if let duration, now - started >= duration, isEnding == nil { isEnding = now }
      if failure() != nil { break }
      round(now)
      if let isEnding, isHurried || now - isEnding >= Self.draining { break }
      // More often than a second nobody reads it, and a screen reader would never come to its end.
      if lastDrawn.map({ now - $0 >= .seconds(1) }) ?? true {
        lastDrawn = now
        showStatus(now - started)
      }
      textfile?.update(now, { correlator.summary() }, printer.facts)
    }
    view.clear()
    for probe in probes { probe.stop() }
    takeAll()
    observe(
      Observation(
        host: hostName(), time: TimeEstimate(exactly: currentTime()),
        fact: .counters(inbox.counters)))
    give(correlator.finish())
    recorder?.finish(at: currentTime())
    noteRecordingEnd()
    let summary = correlator.summary()
    printer.print(summary)
    textfile?.finish(summary, printer.facts)
    return summary
  }

  /// A line on stderr, which does not garble the status line.
  func say(_ text: String) {
    view.clear()
    lastDrawn = nil
    complain(text)
  }

  private func round(_ now: Timestamp) {
    takeAll()
    let watermark = now - Self.lateness
    recorder?.record(advance: watermark)
    let given = correlator.advance(to: watermark)
    printer.advance(to: now)
    if !given.isEmpty { give(given) }
    noteRecordingEnd()
  }

  /// A full disk ends the recording, and not the session.
  private func noteRecordingEnd() {
    guard let recorder, let reason = recorder.news else { return }
    say("upclose: recording stopped: \(reason); the session goes on")
    correlator.observe(
      Observation(
        host: hostName(), time: TimeEstimate(exactly: currentTime()),
        fact: .blindSpot(
          BlindSpot(
            id: "recording", what: "the recording stopped: \(reason)",
            cost: "what came after is in no file"))))
  }

  private func takeAll() {
    for observation in inbox.take() {
      onObservation(observation)
      switch observation.fact {
      case .counters(let counters) where counters.source == "packets": packets = counters
      case .nginxLine(let line) where line.message.isUpstreamFailure: errors += 1
      default: break
      }
      observe(observation)
    }
  }

  private func give(_ given: [Incident]) {
    view.clear()
    lastDrawn = nil
    for incident in given {
      if incident.revision == 1 { incidents += 1 }
      printer.print(incident)
      onIncident(incident)
      recorder?.record(printer.recorded(incident))
      tellPackets(of: incident)
    }
  }

  /// The last packets of the incident's connection, for the report and the recording.
  private func tellPackets(of incident: Incident) {
    guard let close = incident.close, let kept = trails?[close.connection],
      let last = kept.trail.packets.last
    else { return }
    recorder?.record(kept)
    observe(
      Observation(
        host: hostName(), time: TimeEstimate(exactly: last.time), fact: .packets(kept.trail)))
  }

  private func wait(_ end: Int32?) -> (signal: Bool, end: Bool) {
    var polled = [signals, inbox.descriptor, end ?? -1].map {
      pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
    }
    // The inbox wakes at once; a pause keeps a flood of packets from waking once a packet.
    guard poll(&polled, 3, 50) > 0 else { return (false, false) }
    var signal = false
    if polled[0].revents != 0 {
      var information = signalfd_siginfo()
      signal = read(signals, &information, MemoryLayout<signalfd_siginfo>.size) > 0
    }
    if polled[1].revents != 0 { usleep(10_000) }
    return (signal, polled[2].revents != 0)
  }

  private func showStatus(_ elapsed: TimeSpan) {
    let seconds = elapsed.nanoseconds / 1_000_000_000
    view.show(
      table: { LiveTable.lines(correlator.summary(), printer.facts, columns: $0) },
      status: "\(seconds) s  \(packets.seen) packets, \(packets.lost) dropped  \(errors) errors  "
        + "\(incidents) incidents  (Ctrl-C: sum up)")
  }
}
