public import CaptureFile
public import Evidence

/// Follows every TCP connection of a capture file.
///
///     let result = analyzeCapture(path: "incident.pcap") { connection in … }
///     if let error = result.error { … }   // what stood before the damage was told
///
/// - Parameters:
///   - path: pcap or pcapng, or `-` for standard input.
///   - options: `.offline` for Zeek's answers; set `upstreams` to name the responders.
///   - reuse: gets, once a second of the packets' time and at the end, how long connections had been
///     idle when they were reused since the last time, and when that was; nil when nobody asks.
///   - answers: gets how long answers took to begin, likewise.
///   - trails: gets the last packets of connections whose close an error may be about; nil when nobody
///     asks.
///   - number: of the capture among several; a trail's connection is numbered from there (its number
///     times 2^48).
///   - report: gets each connection as it ends, in the order of its end, and then those still open in
///     the order of their first packet.
/// - Returns: the books, and why the file could not be read to its end.
public func analyzeCapture(
  path: String, options: TrackerOptions = .offline,
  reuse: ((Timestamp, ReuseGaps) -> Void)? = nil,
  answers: ((Timestamp, ResponseTimes) -> Void)? = nil, trails: TrailStore? = nil,
  number: UInt64 = 0, report: @escaping (Connection) -> Void
) -> CaptureAnalysis {
  var options = options
  options.countsReuse = reuse != nil || answers != nil
  let keeper = trails.map {
    HeaderKeeper(bytes: 16 << 20, store: $0, sink: nil, number: number)
  }
  var tracker = Tracker(options: options, keeper: keeper, report: report)
  var failure: CaptureError?
  do throws(CaptureError) {
    var reader = try CaptureReader(path: path)
    if reuse != nil || answers != nil {
      var next = Int64.min
      try reader.readBatches {
        tracker.process($0)
        if !tracker.reuse.isEmpty, tracker.now >= next {
          next = tracker.now &+ 1_000_000_000
          tracker.tellReuse(reuse, answers)
        }
      }
      tracker.tellReuse(reuse, answers)
    } else {
      try reader.readBatches { tracker.process($0) }
    }
  } catch {
    failure = error
  }
  tracker.finish()
  return CaptureAnalysis(counters: tracker.counters, error: failure)
}

/// The books of a capture file.
public struct CaptureAnalysis: Sendable {
  public var counters: TrackerCounters
  /// Nil when the file was read to its end.
  public var error: CaptureError?
}
