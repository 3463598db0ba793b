public import Evidence
import Glibc

/// What `stub_status` says (nginx-1.22.1, src/http/modules/ngx_http_stub_status_module.c).
public struct StubStatus: Hashable, Sendable {
  public var active: UInt64
  public var accepts: UInt64
  /// Less than `accepts` when connections were dropped for want of `worker_connections`.
  public var handled: UInt64
  public var requests: UInt64
  public var reading: UInt64
  public var writing: UInt64
  public var waiting: UInt64

  /// Reads the page; nil when it is none.
  public init?(_ page: String) {
    // Active connections: 291
    // server accepts handled requests
    //  16630948 16630948 31070465
    // Reading: 6 Writing: 179 Waiting: 106
    guard page.contains("Active connections:"), page.contains("server accepts handled requests")
    else {
      return nil
    }
    // In some builds a fourth total (the time of all requests) follows the third.
    let lines = page.split(separator: "\n").map { line in
      line.split { !$0.isNumber }.compactMap { UInt64($0) }
    }
    guard lines.count >= 4, lines[0].count == 1, lines[2].count >= 3, lines[3].count == 3 else {
      return nil
    }
    active = lines[0][0]
    accepts = lines[2][0]
    handled = lines[2][1]
    requests = lines[2][2]
    (reading, writing, waiting) = (lines[3][0], lines[3][1], lines[3][2])
  }

  /// As the books show it: what was accepted and not handled is lost.
  var counters: Counters {
    Counters(
      source: "nginx status", seen: requests, lost: accepts > handled ? accepts - handled : 0,
      details: [
        "accepts": accepts, "handled": handled, "active": active, "reading": reading,
        "writing": writing, "waiting": waiting,
      ])
  }
}

/// Where a `stub_status` page is.
public struct StatusPage: Hashable, Sendable {
  public var endpoint: Endpoint
  public var path: String
  public var host: String

  public init(endpoint: Endpoint, path: String, host: String) {
    self.endpoint = endpoint
    self.path = path
    self.host = host
  }

  /// The first page that a configuration serves over plain HTTP from an exact or prefix location; nil
  /// without one.
  init?(_ directives: [Directive]) {
    for http in directives where http.name == "http" {
      for server in http.block ?? [] where server.name == "server" {
        guard let path = Self.path(in: server.block ?? []),
          let endpoint = Self.endpoint(of: server.block ?? [])
        else { continue }
        let name = server.block?.first { $0.name == "server_name" }?.arguments.first
        self.init(
          endpoint: endpoint, path: path,
          host: name.map { $0.hasPrefix("~") || $0.contains("*") ? "localhost" : $0 } ?? "localhost"
        )
        return
      }
    }
    return nil
  }

  private static func path(in block: [Directive]) -> String? {
    for location in block where location.name == "location" {
      guard let path = location.arguments.last, path.hasPrefix("/"),
        ["", "=", "^~"].contains(location.arguments.count > 1 ? location.arguments[0] : "")
      else { continue }
      if location.block?.contains(where: { $0.name == "stub_status" }) ?? false { return path }
    }
    return nil
  }

  private static func endpoint(of block: [Directive]) -> Endpoint? {
    let listens = block.filter { $0.name == "listen" }
    let plain = listens.filter { !$0.arguments.contains("ssl") && !$0.arguments.contains("http3") }
    guard !plain.isEmpty || listens.isEmpty else { return nil }
    let written = plain.first?.arguments.first ?? "80"
    if let port = UInt16(written) {
      return Endpoint(address: IPAddress(v4: 0x7f00_0001), port: port)
    }
    guard case .host(let host, let port)? = UpstreamAddress(written[...]) else { return nil }
    let bare = host.hasPrefix("[") ? host.dropFirst().dropLast() : host[...]
    let address =
      bare == "*" || bare == "0.0.0.0"
      ? IPAddress(v4: 0x7f00_0001)
      : bare == "::" ? IPAddress(high: 0, low: 1) : IPAddress(parsing: bare)
    return address.map { Endpoint(address: $0, port: port ?? 80) }
  }
}
