import Evidence
import Glibc

/// Reads records of the events that were switched on, by the offsets of this kernel's formats.
struct TraceDecoder {
  /// The events that this probe can read, by the kernel's names.
  enum Event: String, CaseIterable {
    case state = "sock/inet_sock_set_state"
    case resetSent = "tcp/tcp_send_reset"
    case resetReceived = "tcp/tcp_receive_reset"
    case retransmission = "tcp/tcp_retransmit_skb"
    case exit = "sched/sched_process_exit"
    case exec = "sched/sched_process_exec"
    case newTask = "task/task_newtask"
    case signal = "signal/signal_generate"
    case outOfMemory = "oom/mark_victim"
  }

  let formats: [Event: TraceFormat]
  /// Names of the reasons for a reset; empty where the kernel has none.
  let reasons: [Int: String]
  private let byID: [UInt16: (event: Event, record: TraceRecord.Layout)]

  init(_ formats: [Event: TraceFormat]) {
    self.formats = formats
    reasons = formats[.resetSent]?.names(of: "reason") ?? [:]
    var byID: [UInt16: (event: Event, record: TraceRecord.Layout)] = [:]
    for (event, format) in formats {
      byID[format.id] = (event, TraceRecord.Layout(format))
    }
    self.byID = byID
  }

  /// - Returns: nil for a record of another event, or one that is shorter than its format says.
  func event(_ bytes: UnsafeRawBufferPointer, at time: UInt64) -> TraceEvent? {
    guard bytes.count >= 8, let known = byID[bytes.loadUnaligned(as: UInt16.self)] else {
      return nil
    }
    let record = TraceRecord(bytes: bytes, layout: known.record)
    guard let thread = record.int32(.commonPID), let flags = record.integer(.commonFlags),
      let kind = kind(known.event, record)
    else { return nil }
    // TRACE_FLAG_HARDIRQ, SOFTIRQ and NMI (include/linux/trace_events.h); thread 0 is an idle CPU.
    let isInterrupt = flags & (0x08 | 0x10 | 0x40) != 0 || thread == 0
    return TraceEvent(time: time, thread: thread, isInterrupt: isInterrupt, kind: kind)
  }

  private func kind(_ event: Event, _ r: TraceRecord) -> TraceEvent.Kind? {
    switch event {
    case .state:
      guard r.integer(.protocol) == UInt64(IPPROTO_TCP), let socket = r.integer(.skaddr),
        let from = r.int32(.oldstate).flatMap(TCPState.init),
        let to = r.int32(.newstate).flatMap(TCPState.init), let (local, remote) = r.endpoints()
      else { return nil }
      return .state(socket: socket, from: from, to: to, local: local, remote: remote)
    case .resetSent:
      guard let (local, remote) = r.endpoints() else { return nil }
      return .resetSent(
        socket: r.integer(.skaddr) ?? 0, state: r.int32(.state).flatMap(TCPState.init),
        reason: r.integer(.reason).map { Int($0) }, local: local, remote: remote)
    case .resetReceived:
      return r.endpoints().map { .resetReceived(local: $0.local, remote: $0.remote) }
    case .retransmission:
      return r.endpoints().map {
        .retransmission(
          state: r.int32(.state).flatMap(TCPState.init), local: $0.local, remote: $0.remote)
      }
    case .exit:
      return r.int32(.pid).map {
        .exit(thread: $0, isLast: r.integer(.groupDead).map { $0 != 0 })
      }
    case .exec: return r.int32(.pid).map { .exec(process: $0) }
    case .newTask:
      guard let pid = r.int32(.pid), let flags = r.integer(.cloneFlags) else { return nil }
      // CLONE_THREAD (include/uapi/linux/sched.h).
      return .newTask(pid, isThread: flags & 0x10000 != 0)
    case .signal:
      guard let number = r.int32(.sig), let code = r.int32(.code), let target = r.int32(.pid) else {
        return nil
      }
      return .signal(number: number, code: code, target: target, command: r.text(.comm) ?? "")
    case .outOfMemory:
      guard let process = r.int32(.pid) else { return nil }
      // In KiB (mm/oom_kill.c K()).
      let parts = [TraceRecord.Name.anonRSS, .fileRSS, .shmemRSS].compactMap { r.integer($0) }
      let resident = parts.isEmpty ? nil : parts.reduce(0, &+) &* 1024
      return .outOfMemory(process: process, command: r.text(.comm), residentBytes: resident)
    }
  }
}

/// A record's bytes, and where its fields lie.
struct TraceRecord {
  /// The fields that are read; `kernelNames` has their names in the same order.
  enum Name: Int, CaseIterable {
    case commonFlags, commonPID, `protocol`, skaddr, oldstate, newstate, state, reason
    case sport, dport, saddr, daddr, saddrV6, daddrV6
    case pid, comm, sig, code, groupDead, cloneFlags
    case anonRSS, fileRSS, shmemRSS

    static let kernelNames = [
      "common_flags", "common_pid", "protocol", "skaddr", "oldstate", "newstate", "state", "reason",
      "sport", "dport", "saddr", "daddr", "saddr_v6", "daddr_v6",
      "pid", "comm", "sig", "code", "group_dead", "clone_flags",
      "anon_rss", "file_rss", "shmem_rss",
    ]
  }

  /// Fields by the raw value of their name, so that reading one takes no search.
  struct Layout {
    struct Place {
      var offset = 0
      /// 0: this kernel has no such field.
      var size = 0
      var isDataLocation = false
    }
    private var places: [Place]

    init(_ format: TraceFormat) {
      places = Name.kernelNames.map { name in
        guard let field = format.fields[name] else { return Place() }
        return Place(
          offset: field.offset, size: field.size,
          isDataLocation: field.declaration.hasPrefix("__data_loc"))
      }
    }

    subscript(name: Name) -> Place { places[name.rawValue] }
  }

  let bytes: UnsafeRawBufferPointer
  let layout: Layout

  /// An unsigned field, or the bits of a signed one; nil where there is none.
  func integer(_ name: Name) -> UInt64? {
    let place = layout[name]
    guard place.size > 0, place.offset + place.size <= bytes.count else { return nil }
    switch place.size {
    case 1: return UInt64(bytes[place.offset])
    case 2: return UInt64(bytes.loadUnaligned(fromByteOffset: place.offset, as: UInt16.self))
    case 4: return UInt64(bytes.loadUnaligned(fromByteOffset: place.offset, as: UInt32.self))
    case 8: return bytes.loadUnaligned(fromByteOffset: place.offset, as: UInt64.self)
    default: return nil
    }
  }

  func int32(_ name: Name) -> Int32? { integer(name).map { Int32(truncatingIfNeeded: $0) } }

  /// Text that ends with a zero: in the record, or where the field says that it is.
  func text(_ name: Name) -> String? {
    var place = layout[name]
    if place.isDataLocation, let word = integer(name) {
      // Length in the upper half, offset in the lower.
      (place.offset, place.size) = (Int(word & 0xffff), Int(word >> 16 & 0xffff))
    }
    guard place.size > 0, place.offset + place.size <= bytes.count else { return nil }
    return String(
      escapingControlsIn: bytes[place.offset..<(place.offset + place.size)].prefix { $0 != 0 })
  }

  /// Both ends, from whichever form the event has.
  func endpoints() -> (local: Endpoint, remote: Endpoint)? {
    if let sport = integer(.sport), let dport = integer(.dport) {
      guard let local = address(.saddrV6) ?? address(.saddr),
        let remote = address(.daddrV6) ?? address(.daddr)
      else { return nil }
      return (
        Endpoint(address: local, port: UInt16(truncatingIfNeeded: sport)),
        Endpoint(address: remote, port: UInt16(truncatingIfNeeded: dport))
      )
    }
    guard let local = socketAddress(.saddr), let remote = socketAddress(.daddr) else { return nil }
    return (local, remote)
  }

  private func address(_ name: Name) -> IPAddress? {
    let place = layout[name]
    guard place.offset + place.size <= bytes.count else { return nil }
    switch place.size {
    case 4:
      return IPAddress(
        v4: UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: place.offset, as: UInt32.self)))
    case 16: return v6(place.offset)
    default: return nil
    }
  }

  /// A `struct sockaddr_in` or `sockaddr_in6`; one of no family is of nobody.
  private func socketAddress(_ name: Name) -> Endpoint? {
    let place = layout[name]
    guard place.size >= 28, place.offset + place.size <= bytes.count else { return nil }
    let family = bytes.loadUnaligned(fromByteOffset: place.offset, as: UInt16.self)
    let port = UInt16(
      bigEndian: bytes.loadUnaligned(fromByteOffset: place.offset + 2, as: UInt16.self))
    switch Int32(family) {
    case AF_INET6: return Endpoint(address: v6(place.offset + 8), port: port)
    case AF_INET:
      let address = bytes.loadUnaligned(fromByteOffset: place.offset + 4, as: UInt32.self)
      return Endpoint(address: IPAddress(v4: UInt32(bigEndian: address)), port: port)
    default: return Endpoint(address: IPAddress(v4: 0), port: port)
    }
  }

  private func v6(_ offset: Int) -> IPAddress {
    IPAddress(
      high: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)),
      low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: offset + 8, as: UInt64.self)))
  }
}
