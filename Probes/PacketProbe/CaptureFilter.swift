import Evidence

/// The kernel's filter for the watched upstreams, in libpcap's language.
enum CaptureFilter {
  /// Beyond this many endpoints the filter names only ports: the kernel's programs are limited
  /// (BPF_MAXINSNS), and libpcap would quietly filter in user space. The tracker checks again.
  private static let mostEndpoints = 100

  /// Exactly the watched endpoints' own traffic: an address and a port on the *same* side, since
  /// nginx may itself listen on the port of its upstream.
  /// - Parameters:
  ///   - upstreams: nil for all TCP.
  ///   - isLight: SYN, FIN and RST only. `tcp[…]` never matches IPv6, whose flags are named by their
  ///     place; extension headers, which `tcp` does not look behind either, are not followed.
  ///   - isCooked: for `any`, where a packet on the loopback interface (index 1) is seen going out and
  ///     coming in: one of the two is left out here, and not copied first and left out later.
  static func expression(
    _ upstreams: UpstreamFilter?, isLight: Bool = false, isCooked: Bool = false
  ) -> String {
    var conditions = ["(\(ends(upstreams)))"]
    if isLight {
      conditions.append("(tcp[tcpflags] & 7 != 0 or (ip6 proto 6 and ip6[53] & 7 != 0))")
    }
    if isCooked { conditions.append("not (ifindex 1 and outbound)") }
    return conditions.joined(separator: " and ")
  }

  private static func ends(_ upstreams: UpstreamFilter?) -> String {
    guard let upstreams else { return "tcp" }
    var ports = upstreams.ports
    var byPort: [UInt16: [IPAddress]] = [:]
    if upstreams.endpoints.count > mostEndpoints {
      for endpoint in upstreams.endpoints { ports.insert(endpoint.port) }
    } else {
      for endpoint in upstreams.endpoints where !ports.contains(endpoint.port) {
        byPort[endpoint.port, default: []].append(endpoint.address)
      }
    }
    var parts = ports.sorted().map { "tcp port \($0)" }
    for (port, addresses) in byPort.sorted(by: { $0.key < $1.key }) {
      for side in ["src", "dst"] {
        let hosts = addresses.sorted().map { "\(side) host \($0)" }.joined(separator: " or ")
        parts.append("(tcp \(side) port \(port) and (\(hosts)))")
      }
    }
    // Nothing is sent from or to port 0.
    return parts.isEmpty ? "tcp port 0" : parts.joined(separator: " or ")
  }
}
