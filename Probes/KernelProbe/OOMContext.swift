import Evidence
import LinuxHost

/// What the lines before the victim's say of an out-of-memory kill.
///
/// Wordings: Linux 4.4 to 6.18, mm/oom_kill.c (`dump_header`, `dump_oom_summary` -- later
/// `dump_oom_victim` --, `__oom_kill_process`) and mm/memcontrol.c (`mem_cgroup_print_oom_context`,
/// `mem_cgroup_print_oom_meminfo`, `mem_cgroup_print_oom_group`).
struct OOMContext {
  private var isMemoryCgroup: Bool?
  /// Only the nodes of a cpuset or of a memory policy ran out: neither a limit nor the whole host.
  private var isPartialHost = false
  /// The chosen process, and its cgroup. Up to 5.1 a child may be sacrificed in its place.
  private var chosen: Int32?
  private var cgroup: String?
  private var limit: UInt64?
  /// Set while the members of a cgroup with `memory.oom.group` are being killed.
  private var group: String?
  /// The dump that the last victim used up; a group's further victims need it again.
  private var spent: (isMemoryCgroup: Bool?, limit: UInt64?)?
  /// The `oom-kill:` line, for kernels 4.20 and 5.0 that broke it in two.
  private var isInSummary = false

  /// Takes a line that says something of a kill to come.
  /// - Returns: whether it was one.
  mutating func consume(_ line: Substring) -> Bool {
    let continued = isInSummary
    isInSummary = false
    if line.contains(text: " invoked oom-killer: ") {
      self = OOMContext()
    } else if let rest = line.after("oom-kill:constraint="), line.begins(with: "oom-kill:") {
      isInSummary = true
      summary(rest)
    } else if continued, line.begins(with: ",global_oom") || line.begins(with: ",oom_memcg=") {
      summary(line)
    } else if line.begins(with: "memory: usage "), let text = line.after(", limit "),
      let (kilobytes, unit) = text.leadingNumber(), unit.begins(with: "kB")
    {
      // PAGE_COUNTER_MAX, which is printed as 9007199254740988kB, is no limit.
      limit = kilobytes >= 9_007_199_254_740_988 ? nil : kilobytes << 10
    } else if line.begins(with: "Task in "),
      let name = line.after("Task in ")?.before(" killed as a result of limit of ", last: true)
    {
      isMemoryCgroup = true
      cgroup = String(name)
    } else if line.begins(with: "Tasks in "),
      line.contains(text: " are going to be killed due to "),
      let name = line.after("Tasks in ")?.before(" are going to be killed due to ", last: true)
    {
      group = String(name)
    } else {
      return false
    }
    return true
  }

  private mutating func summary(_ line: Substring) {
    if line.begins(with: "CONSTRAINT_MEMCG") || line.contains(text: ",oom_memcg=") {
      isMemoryCgroup = true
    } else if line.begins(with: "CONSTRAINT_CPUSET")
      || line.begins(with: "CONSTRAINT_MEMORY_POLICY")
    {
      isPartialHost = true
    } else if !isPartialHost {
      isMemoryCgroup = false
    }
    // A name may hold commas: the fields after it are found from the end.
    guard let pid = line.after(",pid=", last: true)?.leadingNumber(),
      let head = line.before(",pid=", last: true)
    else { return }
    chosen = Int32(exactly: pid.value)
    cgroup = head.after(",task_memcg=")?.before(",task=").map { String($0) }
  }

  /// Takes the victim's line: `Memory cgroup out of memory: Killed process 7366 (name) total-vm:...`,
  /// before 5.2 without what precedes `Killed`.
  mutating func victim(_ line: Substring) -> OOMKill? {
    guard let rest = line.after("Killed process "),
      line.begins(with: "Killed process ") || line.begins(with: "Memory cgroup out of memory")
        || line.begins(with: "Out of memory"),
      let (value, tail) = rest.leadingNumber(), let pid = Int32(exactly: value),
      let command = Self.command(tail)
    else { return nil }
    isInSummary = false
    var kill = OOMKill(pid: pid, command: command)
    if let group {
      kill.isMemoryCgroup = true
      kill.cgroup = group
      kill.limitBytes = spent?.limit
    } else {
      kill.isMemoryCgroup = isMemoryCgroup
      kill.limitBytes = limit
      if chosen == nil || chosen == pid { kill.cgroup = cgroup }
    }
    if line.begins(with: "Memory cgroup out of memory") {
      kill.isMemoryCgroup = true
    } else if line.begins(with: "Out of memory"), kill.isMemoryCgroup == nil, !isPartialHost {
      kill.isMemoryCgroup = false
    }
    if kill.isMemoryCgroup != true { kill.limitBytes = nil }
    kill.residentBytes = Self.resident(tail)
    if group == nil {
      let used = (kill.isMemoryCgroup, kill.limitBytes)
      self = OOMContext()
      spent = used
    }
    return kill
  }

  /// The name between the parentheses, which may itself hold parentheses.
  private static func command(_ tail: Substring) -> String? {
    guard let open = tail.after("(") else { return nil }
    let end = [") total-vm:", "), UID ", ")"] as [StaticString]
    for mark in end {
      if let name = open.before(mark, last: true) { return String(name) }
    }
    return nil
  }

  private static func resident(_ tail: Substring) -> UInt64? {
    var total: UInt64?
    for mark in [" anon-rss:", " file-rss:", " shmem-rss:"] as [StaticString] {
      guard let text = tail.after(mark, last: true), let (kilobytes, unit) = text.leadingNumber(),
        unit.begins(with: "kB"), kilobytes < 1 << 44
      else { continue }
      total = (total ?? 0) + kilobytes << 10
    }
    return total
  }
}
