/// The filters by which the kernel throws away what is of no interest before it is written
/// (Linux Documentation/trace/events.rst, "Event filtering").
enum TraceFilter {
  /// A filter must fit into a page; this many ranges of ports do.
  static let mostRanges = 48

  /// Signals that may end a process (signal(7)); SIGPIPE and SIGALRM are left out, which programs
  /// send to themselves by the thousand.
  static let fatalSignals: [Int32] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 15, 31]

  /// - Parameters:
  ///   - format: of the event: it may lack a field.
  ///   - ports: the watched ones.
  /// - Returns: empty for no filter.
  static func text(
    _ event: TraceDecoder.Event, _ format: TraceFormat, ports: some Collection<UInt16>
  ) -> String {
    switch event {
    case .state:
      // Who connects (2), and as which flow (2 to 1, or to 7 when refused); who closes (to 4 and 9)
      // or aborts (to 7), when a process does it and no packet; who listens (10).
      return "protocol == 6 && (\(Self.ports(ports))) && (newstate == 2 || oldstate == 2 || "
        + "((newstate == 4 || newstate == 9 || newstate == 10 || oldstate == 10 || "
        + "(newstate == 7 && oldstate != 9)) && !(common_flags & 24)))"
    case .resetSent where format.fields["sport"] == nil:
      // Since 6.10 the ports are inside socket addresses, where filters do not reach.
      return ""
    case .resetSent, .resetReceived, .retransmission:
      return Self.ports(ports)
    case .signal:
      let signals = fatalSignals.map { "sig == \($0)" }.joined(separator: " || ")
      // 1: ignored by its target.
      return format.fields["result"] == nil ? signals : "(\(signals)) && result != 1"
    case .newTask, .exit, .exec, .outOfMemory:
      return ""
    }
  }

  private static func ports(_ ports: some Collection<UInt16>) -> String {
    let ranges = ranges(ports)
    if ranges.isEmpty { return "sport == 0 && dport == 0" }
    return ranges.map { range in
      ["sport", "dport"].map { side in
        range.count == 1
          ? "\(side) == \(range.lowerBound)"
          : "(\(side) >= \(range.lowerBound) && \(side) <= \(range.upperBound))"
      }.joined(separator: " || ")
    }.joined(separator: " || ")
  }

  /// The ports as few ranges, joined over the smallest gaps where there are too many: what lies in a
  /// gap is thrown away later.
  static func ranges(_ ports: some Collection<UInt16>) -> [ClosedRange<UInt16>] {
    var ranges: [ClosedRange<UInt16>] = []
    for port in Set(ports).sorted() where port != 0 {
      if let last = ranges.last, last.upperBound == port - 1 {
        ranges[ranges.count - 1] = last.lowerBound...port
      } else {
        ranges.append(port...port)
      }
    }
    guard ranges.count > mostRanges else { return ranges }
    let gaps = (1..<ranges.count).sorted {
      ranges[$0].lowerBound - ranges[$0 - 1].upperBound
        > ranges[$1].lowerBound - ranges[$1 - 1].upperBound
    }
    let starts = [0] + gaps.prefix(mostRanges - 1).sorted() + [ranges.count]
    return zip(starts, starts.dropFirst()).map {
      ranges[$0].lowerBound...ranges[$1 - 1].upperBound
    }
  }
}
