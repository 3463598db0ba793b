import Evidence
import LinuxHost

/// How kernels report a process that dies of a fault.
///
/// Sources, Linux 4.4 to 6.18: arch/x86/mm/fault.c `show_signal_msg`, arch/x86/kernel/traps.c
/// `show_signal` (`general protection ip:` up to 4.20, `general protection fault ip:` since),
/// arch/arm64/kernel/traps.c `arm64_show_signal` (since 4.18) and arch/arm64/mm/fault.c
/// `__do_user_fault` before it, arch/powerpc/kernel/traps.c `show_signal_msg`,
/// arch/riscv/kernel/traps.c `do_trap`.
enum FaultWording {
  /// The fault that a line reports, or nil.
  ///
  /// `pid` is what the kernel printed: the faulting *thread*.
  static func fault(in line: Substring) -> Fault? {
    x86Segfault(line) ?? x86Trap(line) ?? arm64(line) ?? other(line)
  }

  private static func x86Segfault(_ line: Substring) -> Fault? {
    guard let process = line.before("]: segfault at ")?.processBeforeBracket() else { return nil }
    return Fault(
      pid: process.pid, command: process.command, name: "segfault", image: image(in: line))
  }

  /// `traps: name[123] trap divide error ip:4004f6 sp:7ffd error:0 in name[400000+1000]`
  private static func x86Trap(_ line: Substring) -> Fault? {
    guard line.contains(text: " ip:"), let head = line.before(" ip:", last: true) else {
      return nil
    }
    let named = head.after("traps: ") ?? head
    let process: (command: String, pid: Int32)
    let name: Substring
    if let before = named.before("] trap ", last: true)?.processBeforeBracket(),
      let what = named.after("] trap ", last: true)
    {
      (process, name) = (before, what)
    } else if let before = named.before("] ", last: true)?.processBeforeBracket(),
      let what = named.after("] ", last: true), what.begins(with: "general protection")
    {
      (process, name) = (before, "general protection fault")
    } else {
      return nil
    }
    return Fault(
      pid: process.pid, command: process.command, name: String(name), image: image(in: line))
  }

  /// `name[123]: unhandled exception: DABT (lower EL), ESR 0x92000006, level 2 translation fault in
  /// name[400000+1000]`; before 4.18 `name[123]: unhandled level 2 translation fault (11) at
  /// 0x00000000, esr 0x92000046`.
  private static func arm64(_ line: Substring) -> Fault? {
    if let process = line.before("]: unhandled exception: ")?.processBeforeBracket(),
      let what = line.after("]: unhandled exception: ")
    {
      var words = what.before(" in ", last: true) ?? what
      if let code = words.after(", ESR 0x"), let name = code.after(", ") { words = name }
      return Fault(
        pid: process.pid, command: process.command, name: String(words), image: image(in: line))
    }
    if let process = line.before("]: unhandled ")?.processBeforeBracket(),
      let what = line.after("]: unhandled ")?.before(") at 0x"),
      let name = what.before(" (", last: true)
    {
      return Fault(
        pid: process.pid, command: process.command, name: String(name), image: image(in: line))
    }
    if let process = line.before("]: undefined instruction: pc=")?.processBeforeBracket() {
      return Fault(pid: process.pid, command: process.command, name: "undefined instruction")
    }
    return nil
  }

  private static func other(_ line: Substring) -> Fault? {
    if line.contains(text: " nip "), let head = line.before(") at "),
      let process = head.before("]: ")?.processBeforeBracket(),
      let name = head.after("]: ")?.before(" (", last: true)
    {
      return Fault(
        pid: process.pid, command: process.command, name: String(name), image: image(in: line))
    }
    if let process = line.before("]: unhandled signal ")?.processBeforeBracket(),
      let signal = line.after("]: unhandled signal ")?.leadingNumber()
    {
      return Fault(
        pid: process.pid, command: process.command, name: "signal \(signal.value)",
        image: image(in: line))
    }
    return nil
  }

  /// `libc.so.6` of ` in libc.so.6[167ad8,7f935a444000+156000]`.
  static func image(in line: Substring) -> String? {
    guard let tail = line.after(" in ", last: true), let name = tail.before("[", last: true),
      !name.isEmpty
    else { return nil }
    return String(name)
  }
}

/// `potentially unexpected fatal signal 11.` names the process on a later line, but for the newest
/// kernels, which name its thread but not its number (kernel/signal.c `print_fatal_signal`, with
/// `kernel.print-fatal-signals` set).
struct FatalSignal {
  var number: UInt64
  var text: String
  /// `name/123: potentially ...`, up to Linux 3.x.
  var process: (command: String, pid: Int32)?

  init?(_ line: Substring) {
    guard let number = line.after("potentially unexpected fatal signal ")?.leadingNumber() else {
      return nil
    }
    self.number = number.value
    text = String(line)
    if let head = line.before(": potentially"), let command = head.before("/", last: true),
      let value = head.after("/", last: true).flatMap({ decimal($0.utf8) }),
      let pid = Int32(exactly: value)
    {
      process = (String(command), pid)
    }
  }

  /// Reads `CPU: 0 UID: 0 PID: 7366 Comm: name Not tainted 6.18.44 #1`.
  static func process(onRegistersLine line: Substring) -> (command: String, pid: Int32)? {
    guard line.begins(with: "CPU: "), let rest = line.after(" PID: "),
      let (value, tail) = rest.leadingNumber(), let pid = Int32(exactly: value),
      tail.begins(with: " Comm: "), let named = tail.after(" Comm: ")
    else { return nil }
    let end =
      named.position(of: " Not tainted", last: true) ?? named.position(of: " Kdump: ", last: true)
      ?? named.position(of: " Tainted: ", last: true)
    guard let end else {
      return (named.split(separator: " ").first.map { String($0) } ?? "", pid)
    }
    // `Kdump: loaded Tainted:` would leave a part of itself in the name.
    let name = named[..<end]
    return (String(name.before(" Kdump: ", last: true) ?? name), pid)
  }
}
