/// A line of the kernel's log that may explain a close.
public struct KernelEvent: Hashable, Codable, Sendable {
  public var kind: Kind
  /// The kernel's own words (one line, control bytes escaped): the evidence.
  public var text: String
  /// The record's sequence number in `/dev/kmsg`; nil in replayed text.
  public var sequence: UInt64?

  public init(kind: Kind, text: String, sequence: UInt64? = nil) {
    self.kind = kind
    self.text = text
    self.sequence = sequence
  }

  public enum Kind: Hashable, Codable, Sendable {
    /// The out-of-memory killer chose a victim.
    case oomKill(OOMKill)
    /// A process died of a fault: segfault, trap, general protection, divide error.
    case fault(Fault)
    /// Connection tracking is full, SYN flood, TCP memory, orphans, neighbours, link: the host's
    /// network is in trouble.
    case network(String)
    case other
  }
}

/// An out-of-memory kill (Linux mm/oom_kill.c).
public struct OOMKill: Hashable, Codable, Sendable {
  public var pid: Int32
  /// The kernel's comm: at most 15 bytes.
  public var command: String
  /// True: a memory cgroup's limit; false: the whole host ran out; nil: not said.
  public var isMemoryCgroup: Bool?
  /// The victim's cgroup, as `/system.slice/app.service`.
  public var cgroup: String?
  /// Resident bytes of the victim (anonymous, file and shared).
  public var residentBytes: UInt64?
  /// The cgroup's limit in bytes.
  public var limitBytes: UInt64?

  public init(
    pid: Int32, command: String, isMemoryCgroup: Bool? = nil, cgroup: String? = nil,
    residentBytes: UInt64? = nil, limitBytes: UInt64? = nil
  ) {
    self.pid = pid
    self.command = command
    self.isMemoryCgroup = isMemoryCgroup
    self.cgroup = cgroup
    self.residentBytes = residentBytes
    self.limitBytes = limitBytes
  }
}

/// A fatal fault in a process (Linux arch/x86/mm/fault.c, arch/x86/kernel/traps.c and others).
public struct Fault: Hashable, Codable, Sendable {
  public var pid: Int32
  public var command: String
  /// `segfault`, `general protection fault`, `divide error`, `invalid opcode`, ...
  public var name: String
  /// The file in which it happened, as `libc.so.6`, where the kernel says.
  public var image: String?

  public init(pid: Int32, command: String, name: String, image: String? = nil) {
    self.pid = pid
    self.command = command
    self.name = name
    self.image = image
  }
}
