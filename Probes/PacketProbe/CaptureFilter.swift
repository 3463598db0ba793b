import Evidence

/// The kernel's filter for the watched upstreams, in libpcap's language.
enum CaptureFilter {
  /// Beyond this many endpoints the filter names only ports: the kernel's programs are limited
  /// (BPF_MAXINSNS), and libpcap would quietly filter in user space. The tracker checks again.
  private static let mostEndpoints = 100

  /// Exactly the watched endpoints' own traffic: an address and a port on the *same* side, since
  /// nginx may itself listen on the port of its upstream.
  /// - Parameter upstreams: nil for all TCP.
  static func expression(_ upstreams: UpstreamFilter?) -> String {
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
