/// The TCP ports that Zeek takes for a server's (`likely_server_ports`, filled by the scripts under
/// scripts/base/protocols). It decides who is the originator when a capture starts midstream.
enum ServerPorts {
  static func contains(_ port: UInt16) -> Bool {
    switch port {
    case 21, 22, 25, 53, 79, 80, 81, 88, 135, 139, 143, 389, 443, 445, 502, 563, 585, 587, 614,
      631, 636, 989, 990, 992, 993, 995, 1080, 1434, 1883, 2811, 3128, 3268, 3306, 3389, 5222,
      5223, 5269, 5432, 6379, 6666...6669, 8000, 8080, 8888, 20000:
      true
    default: false
    }
  }

  /// Those where people type, and pause (`Conn::port_inactivity_timeouts`).
  static func isInteractive(_ port: UInt16) -> Bool {
    port == 21 || port == 22 || port == 23 || port == 513
  }
}
