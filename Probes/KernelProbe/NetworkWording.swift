import LinuxHost

/// Lines by which a kernel says that the host's network is in trouble.
///
/// Sources, Linux 4.4 to 6.18: net/netfilter/nf_conntrack_core.c, net/ipv4/tcp_input.c
/// `tcp_syn_flood_action`, net/ipv4/tcp.c `tcp_check_oom`, net/ipv4/tcp_timer.c,
/// net/core/neighbour.c, net/sched/sch_generic.c `dev_watchdog`, net/ipv6/addrconf.c,
/// drivers/net/bonding/bond_main.c, and the drivers' `NIC Link is Down`.
enum NetworkWording {
  /// A stable name for what a line says, or nil.
  static func trouble(in line: Substring) -> String? {
    if line.contains(text: "conntrack: table full") { return "conntrack table full" }
    if line.contains(text: "ossible SYN flooding on port ") { return "SYN flooding" }
    if line.begins(with: "TCP: out of memory") || line.begins(with: "Out of socket memory") {
      return "TCP out of memory"
    }
    if line.contains(text: "too many orphaned sockets")
      || line.contains(text: "too many of orphaned sockets")
    {
      return "too many orphaned sockets"
    }
    if line.contains(text: "neighbor table overflow")
      || line.contains(text: "eighbour table overflow")
    {
      return "neighbour table overflow"
    }
    if line.begins(with: "NETDEV WATCHDOG: ") || line.contains(text: ": NETDEV WATCHDOG: ") {
      return "transmit timeout"
    }
    return link(line)
  }

  private static func link(_ line: Substring) -> String? {
    // Disks have links, too.
    if line.begins(with: "ata") || line.contains(text: "SATA link") { return nil }
    if line.contains(text: "ink is down") || line.contains(text: "ink is Down")
      || line.contains(text: "ink down") || line.contains(text: "ink Down")
      || line.contains(text: "link status definitely down")
    {
      return "link down"
    }
    if line.contains(text: "ink is up") || line.contains(text: "ink is Up")
      || line.contains(text: "ink up") || line.contains(text: "ink Up")
      || line.contains(text: "link becomes ready")
      || line.contains(text: "link status definitely up")
    {
      return "link up"
    }
    return nil
  }
}
