import Evidence
import Testing

@testable import KernelProbe

@Suite struct FaultWordingTests {
  @Test(arguments: [
    // Recorded on Linux 6.18.
    (
      "python3[7367]: segfault at 0 ip 00007f935a585ad8 sp 00007ffe9475d348 error 4 in libc.so.6[167ad8,7f935a444000+156000] likely on CPU 1 (core 1, socket 0)",
      Fault(pid: 7367, command: "python3", name: "segfault", image: "libc.so.6")
    ),
    // 4.x and 5.x.
    (
      "php-fpm7.0[1933]: segfault at 8 ip 00005581e2d6f3a5 sp 00007ffd50 error 6 in php-fpm7.0[5581e2a00000+3f1000]",
      Fault(pid: 1933, command: "php-fpm7.0", name: "segfault", image: "php-fpm7.0")
    ),
    // A jump to nowhere is in no file.
    (
      "a.out[12]: segfault at 0 ip 0000000000000000 sp 00007ffd50 error 14",
      Fault(pid: 12, command: "a.out", name: "segfault")
    ),
    (
      "a.out[12]: segfault at 0 ip 0000000000000000 sp 00007ffd50 error 14 likely on CPU 1 (core 1, socket 0)",
      Fault(pid: 12, command: "a.out", name: "segfault")
    ),
    (
      "a [1]: b[77]: segfault at 0 ip 0 sp 0 error 4 in my lib.so[1000+2000]",
      Fault(pid: 77, command: "a [1]: b", name: "segfault", image: "my lib.so")
    ),
    (
      "traps: worker[420] general protection ip:7f5a sp:7ffc error:0 in libfoo.so.1[7f5a00000000+1000]",
      Fault(pid: 420, command: "worker", name: "general protection fault", image: "libfoo.so.1")
    ),
    (
      "traps: worker[420] general protection fault ip:7f5a sp:7ffc error:0 in libfoo.so.1[5a,7f5a00000000+1000]",
      Fault(pid: 420, command: "worker", name: "general protection fault", image: "libfoo.so.1")
    ),
    (
      "traps: calc[9] trap divide error ip:4004f6 sp:7ffd error:0 in calc[400000+1000]",
      Fault(pid: 9, command: "calc", name: "divide error", image: "calc")
    ),
    (
      "traps: node[2] trap invalid opcode ip:81 sp:7f error:0 in node[400000+1]",
      Fault(pid: 2, command: "node", name: "invalid opcode", image: "node")
    ),
    (
      "traps: dotnet[3] trap int3 ip:7f sp:7f error:0",
      Fault(pid: 3, command: "dotnet", name: "int3")
    ),
    (
      "traps: x[4] trap stack segment ip:1 sp:2 error:0 in x[1+1]",
      Fault(pid: 4, command: "x", name: "stack segment", image: "x")
    ),
    (
      "traps: x[5] trap alignment check ip:1 sp:2 error:0 in x[1+1]",
      Fault(pid: 5, command: "x", name: "alignment check", image: "x")
    ),
    // arm64 since 4.18.
    (
      "pidfd_test[1082142]: unhandled exception: SP Alignment, ESR 0x000000009a000000, SP/PC alignment exception in pidfd_test[400000+4000]",
      Fault(
        pid: 1_082_142, command: "pidfd_test", name: "SP/PC alignment exception",
        image: "pidfd_test")
    ),
    (
      "mte_test[2263]: unhandled exception: DABT (lower EL), ESR 0x0000000092000051, synchronous tag check fault in mte_test[b847a9c80000+1000]",
      Fault(pid: 2263, command: "mte_test", name: "synchronous tag check fault", image: "mte_test")
    ),
    // arm64 before.
    (
      "nginx[31]: unhandled level 2 translation fault (11) at 0x00000000, esr 0x92000046, in nginx[400000+1000]",
      Fault(pid: 31, command: "nginx", name: "level 2 translation fault", image: "nginx")
    ),
    (
      "app[7]: undefined instruction: pc=0000ffff90",
      Fault(pid: 7, command: "app", name: "undefined instruction")
    ),
    // powerpc and riscv.
    (
      "crash[640]: segfault (11) at 0 nip 10000738 lr 7fff8 code 1 in crash[10000000+10000]",
      Fault(pid: 640, command: "crash", name: "segfault", image: "crash")
    ),
    (
      "app[88]: unhandled signal 11 code 0x1 at 0x0000000000000000 in app[10000+1000]",
      Fault(pid: 88, command: "app", name: "signal 11", image: "app")
    ),
  ])
  func `a fault is told with its process, name and file`(_ line: String, _ expected: Fault) {
    #expect(events(line) == [KernelEvent(kind: .fault(expected), text: line)])
  }

  @Test func `a fragment brings the file`() {
    let log = """
      app[7]: segfault at 0 ip 1 sp 2 error 4
       in libc.so.6[1000+2000]
      Code: 00 00
      """
    var assembler = KernelEventAssembler()
    var result: [KernelEvent] = []
    for (index, line) in log.split(separator: "\n").enumerated() {
      result += assembler.consume(
        Array(line.utf8), isFragment: index == 1, stamp: KernelStamp(sequence: UInt64(index))
      ).map(\.event)
    }
    #expect(
      result == [
        KernelEvent(
          kind: .fault(Fault(pid: 7, command: "app", name: "segfault", image: "libc.so.6")),
          text: "app[7]: segfault at 0 ip 1 sp 2 error 4 in libc.so.6[1000+2000]", sequence: 0)
      ])
  }

  @Test func `a fatal signal finds its process in the registers`() {
    let log = """
      potentially unexpected fatal signal 6.
      CPU: 1 PID: 963 Comm: my app Tainted: G        W   E      5.15.0 #1
      """
    #expect(
      events(log) == [
        KernelEvent(
          kind: .fault(Fault(pid: 963, command: "my app", name: "fatal signal 6")),
          text: "potentially unexpected fatal signal 6.")
      ])
    #expect(
      faults(
        "/usr/bin/app: app: potentially unexpected fatal signal 11.\nCPU: 0 UID: 0 PID: 5 Comm: app Not tainted 6.18.1 #1"
      )
        == [Fault(pid: 5, command: "app", name: "fatal signal 11")])
    #expect(
      faults("consoled/2993: potentially unexpected fatal signal 11.")
        == [Fault(pid: 2993, command: "consoled", name: "fatal signal 11")])
    #expect(faults("potentially unexpected fatal signal 6.\nother").isEmpty)
  }

  @Test(arguments: [
    ("nf_conntrack: nf_conntrack: table full, dropping packet", "conntrack table full"),
    ("nf_conntrack: table full, dropping packet.", "conntrack table full"),
    (
      "TCP: request_sock_TCP: Possible SYN flooding on port 80. Sending cookies.  Check SNMP counters.",
      "SYN flooding"
    ),
    (
      "TCP: request_sock_TCP: Possible SYN flooding on port [::]:8080. Dropping request.",
      "SYN flooding"
    ),
    ("TCP: out of memory -- consider tuning tcp_mem", "TCP out of memory"),
    ("TCP: too many orphaned sockets", "too many orphaned sockets"),
    ("neighbour: arp_cache: neighbor table overflow!", "neighbour table overflow"),
    ("neighbour: arp_cache: neighbour table overflow!", "neighbour table overflow"),
    ("e1000e: eth0 NIC Link is Down", "link down"),
    ("ixgbe 0000:01:00.0 eth1: NIC Link is Up 10 Gbps, Flow Control: RX/TX", "link up"),
    ("bond0: (slave eth0): link status definitely down, disabling slave", "link down"),
    ("IPv6: ADDRCONF(NETDEV_CHANGE): eth0: link becomes ready", "link up"),
    ("NETDEV WATCHDOG: eth0 (igb): transmit queue 0 timed out", "transmit timeout"),
  ])
  func `trouble of the network has a stable name`(_ line: String, _ name: String) {
    #expect(events(line) == [KernelEvent(kind: .network(name), text: line)])
  }

  @Test(arguments: [
    "ata1: SATA link down (SStatus 0 SControl 300)", "EXT4-fs (vda): mounted filesystem",
    "process_api (1): drop_caches: 10", "Memory: 8049676K/8387676K available", "",
    "]: segfault at ", "[]: segfault at ", "x[]: segfault at 0", "x[99999999999]: segfault at 0",
    "] trap  ip:", "usb 1-1: new high-speed USB device", "traps: x[1] odd ip:1 sp:2 error:0",
  ])
  func `other lines are no events`(_ line: String) {
    #expect(events(line).isEmpty)
  }
}
