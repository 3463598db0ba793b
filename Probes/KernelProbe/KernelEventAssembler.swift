import Evidence
import LinuxHost

/// When and where a line stood in the log.
struct KernelStamp: Equatable {
  /// Nil: the log does not say, as `dmesg` of an unknown boot.
  var time: TimeEstimate?
  var sequence: UInt64?
}

/// Turns lines of the kernel's log, in their order, into events: one for each kill or fault, however
/// many lines the kernel spends on it.
struct KernelEventAssembler {
  struct Assembled: Equatable {
    var event: KernelEvent
    var stamp: KernelStamp
  }

  private var oom = OOMContext()
  /// A fault whose image may follow in a fragment.
  private var fault: Assembled?
  private var signal: (value: FatalSignal, stamp: KernelStamp, age: Int)?

  /// Takes a line of the kernel's own.
  /// - Parameters:
  ///   - bytes: the message, without priority, time and tag.
  ///   - isFragment: it goes on where the last one stopped.
  /// - Returns: what is now known in full.
  mutating func consume(
    _ bytes: some Collection<UInt8>, isFragment: Bool = false, stamp: KernelStamp
  ) -> [Assembled] {
    if isFragment, var pending = fault {
      let text = pending.event.text + String(escapingControlsIn: bytes)
      pending.event.text = text
      if case .fault(var value) = pending.event.kind, let image = FaultWording.image(in: text[...])
      {
        value.image = image
        pending.event.kind = .fault(value)
      }
      fault = pending
      return flush()
    }
    var result = flush()
    if var waiting = signal {
      waiting.age += 1
      // The registers follow at once: 24 lines of other processors may stand between.
      signal = waiting.age > 24 ? nil : waiting
    }
    guard Self.mayMatter(bytes) else { return result }
    let text = String(escapingControlsIn: bytes)
    let line = text[...]
    func assembled(_ kind: KernelEvent.Kind) -> Assembled {
      Assembled(
        event: KernelEvent(kind: kind, text: text, sequence: stamp.sequence), stamp: stamp)
    }
    if let kill = oom.victim(line) {
      result.append(assembled(.oomKill(kill)))
    } else if oom.consume(line) {
      // Told with the victim.
    } else if let value = FaultWording.fault(in: line) {
      if value.image == nil {
        fault = assembled(.fault(value))
      } else {
        result.append(assembled(.fault(value)))
      }
    } else if let value = FatalSignal(line) {
      if let process = value.process {
        result.append(assembled(.fault(Self.fault(value, process))))
      } else {
        signal = (value, stamp, 0)
      }
    } else if let waiting = signal, let process = FatalSignal.process(onRegistersLine: line) {
      let kind = KernelEvent.Kind.fault(Self.fault(waiting.value, process))
      let event = KernelEvent(
        kind: kind, text: waiting.value.text, sequence: waiting.stamp.sequence)
      result.append(Assembled(event: event, stamp: waiting.stamp))
      signal = nil
    } else if let trouble = NetworkWording.trouble(in: line) {
      result.append(assembled(.network(trouble)))
    } else if Self.isOther(line) {
      result.append(assembled(.other))
    }
    return result
  }

  /// What waits for a fragment, when none has come.
  mutating func flush() -> [Assembled] {
    defer { fault = nil }
    return fault.map { [$0] } ?? []
  }

  private static func fault(_ signal: FatalSignal, _ process: (command: String, pid: Int32))
    -> Fault
  {
    Fault(pid: process.pid, command: process.command, name: "fatal signal \(signal.number)")
  }

  /// Worth keeping, though no cause rests on it alone: a task that hangs, a processor that is stuck,
  /// the end of an out-of-memory victim.
  private static func isOther(_ line: Substring) -> Bool {
    line.begins(with: "INFO: task ") && line.contains(text: " blocked for more than ")
      || line.contains(text: "soft lockup - CPU#")
      || line.begins(with: "oom_reaper: reaped process ")
  }

  /// A quick look that spares most lines the making of a string.
  private static func mayMatter(_ bytes: some Collection<UInt8>) -> Bool {
    let verdict = bytes.withContiguousStorageIfAvailable { buffer in
      marks.contains { occurs($0, in: UnsafeRawBufferPointer(buffer)) }
    }
    return verdict ?? true
  }

  private static let marks: [StaticString] = [
    "oom", "emory", "Task", "task", "Killed", "]: segfault", " ip:", "unhandled", "undefined inst",
    " nip ", "fatal signal", "CPU: ", "conntrack", "flooding", "orphaned", "overflow", "WATCHDOG",
    "ink", "lockup",
  ]
}
