import Evidence
import Glibc
import LinuxHost
import Testing

@testable import NginxProbe

/// The rows of the table of failures that need a hand on both ends of nginx: each is made certain (a
/// stopped worker finds everything that happened meanwhile in one batch of events), in networks of
/// their own, side by side.
@Suite(.enabled(if: RealNginx.isInstalled)) struct LiveRowsTests {
  @Test func `rows that a network and a backend make`() throws {
    let network = try Network { try Self.ordinary() }
    let stale = try Network { try Self.staleConnections() }
    let early = try Network { try Self.beforeTheRequest() }
    let uploads = try Network { try Self.uploads() }
    try check(network.result())
    try checkStale(stale.result())
    try checkEarly(early.result())
    try checkUploads(Self.clientHeardFirst(uploads.result()))
  }

  // MARK: Rows 2-4, 7-9, 20, 21, 25, 28, 30-32

  private static func ordinary() throws -> LiveRows.Result {
    setNetwork("tcp_syn_retries", "1")
    setNetwork("tcp_syn_linear_timeouts", "0")
    setNetwork("tcp_retries2", "2")
    _ = try runCommand("/sbin/ip", ["ip", "route", "add", "unreachable", "198.51.100.0/24"])
    let names = ["2", "3", "7", "8", "9", "20", "21", "25", "25-small", "28", "31", "32"]
    var listeners: [String: Listener] = [:]
    var text = ""
    for name in names {
      let listener = try Listener(smallWindow: ["20", "21", "25"].contains(name))
      listeners[name] = listener
      text += "upstream u\(name) { server 127.0.0.1:\(listener.port); keepalive 4; }\n"
    }
    func location(_ path: String, _ upstream: String, _ more: String = "") {
      text += "location /\(path) { proxy_pass http://u\(upstream); \(more) }\n"
    }
    text += "server { listen PORT;\n"
    location("2", "2", "proxy_connect_timeout 200ms;")
    for name in ["3", "7", "8", "9", "20", "21", "28", "31"] { location(name, name) }
    location("25-small", "25-small", "proxy_read_timeout 200ms;")
    location("25-large", "25", "proxy_send_timeout 200ms;")
    location(
      "32", "32",
      "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; "
        + "proxy_read_timeout 300ms;")
    text += "location /4-net { proxy_pass http://203.0.113.1:80; }\n"
    text += "location /4-host { proxy_pass http://198.51.100.1:80; } }\n"
    let rows = try LiveRows(http: text)
    let script = Script(rows: rows, listeners: listeners)
    script.run()
    return try rows.result()
  }

  private struct Script {
    let rows: LiveRows
    let listeners: [String: Listener]

    func run() {
      // Those that take their time wait for it together.
      listeners["2"]?.peer.swallow(true)
      listeners["3"]?.peer.swallow(true)
      let slow = [rows.ask("2"), rows.ask("3")]
      let lost = loseConnection()
      for path in ["4-net", "4-host"] { _ = rows.ask(path).status() }
      idle("7") { $0.close() }
      idle("8") { $0.reset() }
      idle("9") { $0.say("HTTP/1.1 408 Request Timeout\r\n\r\n") }
      upload()
      silent()
      leave()
      upgrade()
      for client in slow { _ = client.status() }
      finish(lost)
    }

    /// A connection that is kept and ends while it is idle; the next request has a new one.
    private func idle(_ name: String, _ end: (Peer) -> Void) {
      guard let listener = listeners[name] else { return }
      let client = rows.ask(name)
      let connection = listener.serve()
      connection.answer()
      _ = client.status()
      end(connection)
      if name == "9" { connection.readToEnd() }
      rows.ask(client, name)
      listener.serve().answer()
      _ = client.status()
    }

    /// Row 28: packets on a kept connection are lost. Returns the client that waits.
    private func loseConnection() -> (Peer, Peer)? {
      guard let listener = listeners["28"] else { return nil }
      let client = rows.ask("28")
      let connection = listener.serve()
      connection.answer()
      _ = client.status()
      connection.swallow(true)
      rows.ask(client, "28")
      return (client, connection)
    }

    private func finish(_ lost: (Peer, Peer)?) {
      guard let lost, let listener = listeners["28"] else { return }
      listener.serve().answer()
      _ = lost.0.status()
    }

    /// Rows 20 and 21: the backend ends it in the middle of a large request.
    private func upload() {
      for name in ["20", "21"] {
        guard let listener = listeners[name] else { continue }
        let client = rows.ask(name, method: "POST", length: 8 << 20)
        client.say(bytes: 8 << 20)
        let connection = listener.accept()
        connection.read(until: "\r\n\r\n", more: 1)
        // No window is left: nginx waits, and is not just writing.
        rows.nginx.waitUntilIdle()
        if name == "20" {
          connection.reset()
        } else {
          connection.say("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
          connection.close()
        }
        _ = client.status()
      }
    }

    /// Row 25: the backend never reads.
    private func silent() {
      let large = rows.ask("25-large", method: "POST", length: 8 << 20)
      large.say(bytes: 8 << 20)
      _ = large.status()
      _ = rows.ask("25-small").status()
    }

    /// Row 31: the client leaves while it waits.
    private func leave() {
      guard let listener = listeners["31"] else { return }
      for isReset in [false, true] {
        let client = rows.ask("31")
        let connection = listener.serve()
        if isReset { client.reset() } else { client.close() }
        connection.readToEnd()
      }
    }

    /// Row 32: what becomes of an upgraded connection.
    private func upgrade() {
      guard let listener = listeners["32"] else { return }
      for end in ["idle", "RST", "FIN"] {
        let client = rows.ask("32-\(end)", upgrade: true)
        let connection = listener.serve()
        connection.say(
          "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        client.read()
        if end == "RST" { connection.reset() }
        if end == "FIN" { connection.close() }
        client.readToEnd()
      }
    }
  }

  private func check(_ result: LiveRows.Result) {
    let single = Outcome.single
    #expect(result.outcomes["2"] == [Outcome(.connectTimedOut, errno: 110, 504, [504], single)])
    #expect(result.outcomes["3"] == [Outcome(.connectFailed, errno: 110, 502, [502], single)])
    #expect(
      result.outcomes["4-net"] == [Outcome(.connectRefusedAtOnce, errno: 101, 502, [502], single)])
    #expect(
      result.outcomes["4-host"]
        == [Outcome(.connectRefusedAtOnce, errno: 113, 502, [502], single)])
    for name in ["7", "8", "9"] {
      #expect(result.outcomes[name] == nil, "row \(name)")
      #expect(result.requests[name]?.first == "200", "row \(name)")
      #expect(result.requests[name]?[2] == "200", "row \(name)")
    }
    // The write may see the reset first.
    let reset = result.outcomes["20"]?.first
    #expect(reset?.message == .recvFailed || reset?.message == .sendFailed)
    #expect(reset?.errno == 104 || reset?.errno == 32)
    #expect(reset?.status == 502 && reset?.tries == [502] && reset?.because == Outcome.post)
    // Harmless, and only sometimes written.
    #expect(
      result.outcomes["21"]?.allSatisfy { $0.message == .bodyRecvFailed } ?? true,
      "\(result.outcomes["21"] ?? [])")
    #expect(result.requests["21"]?.first == "413" && result.requests["21"]?[2] == "413")
    #expect(
      result.outcomes["25-large"] == [
        Outcome(.sendTimedOut, errno: 110, 504, [504], Outcome.post)
      ])
    #expect(
      result.outcomes["25-small"] == [Outcome(.headerTimedOut, errno: 110, 504, [504], single)])
    #expect(
      result.outcomes["28"] == [
        Outcome(.recvFailed, errno: 110, 200, [502, 200], retried: true)
      ])
    #expect(result.requests["31"]?.first == "499" && result.requests["31"]?[2] == "-")
    #expect(result.others[.clientClosed] == 2)
    #expect(
      result.outcomes["32-idle"] == [Outcome(.upgradedTimedOut, errno: 110, 101, [101])])
    #expect(result.outcomes["32-RST"] == [Outcome(.upgradedFailed, errno: 104, 101, [101])])
    #expect(result.outcomes["32-FIN"] == nil && result.requests["32-FIN"]?.first == "101")
  }

  // MARK: Rows 10 and 11

  private static func staleConnections() throws -> LiveRows.Result {
    let names = ["10", "10-POST", "11", "11-POST"]
    let listeners = try names.map { _ in try Listener() }
    let upstreams = zip(names, listeners).map { name, listener in
      "upstream u\(name) { server 127.0.0.1:\(listener.port); keepalive 4; }"
    }
    let locations = names.map { "location /\($0) { proxy_pass http://u\($0); }" }
    let rows = try LiveRows(
      http: upstreams.joined() + "server { listen PORT; \(locations.joined(separator: "\n")) }")
    var clients: [Peer] = []
    var connections: [Peer] = []
    for (name, listener) in zip(names, listeners) {
      let client = rows.ask(name)
      let connection = listener.serve()
      connection.answer()
      _ = client.status()
      clients.append(client)
      connections.append(connection)
    }
    rows.nginx.stopWorkers(true)
    for (index, name) in names.enumerated() {
      let isPost = name.hasSuffix("POST")
      rows.ask(clients[index], name, method: isPost ? "POST" : "GET", length: isPost ? 0 : nil)
      if name.hasPrefix("11") { connections[index].reset() } else { connections[index].close() }
    }
    rows.nginx.stopWorkers(false)
    for (index, name) in names.enumerated() {
      if name != "10-POST" { listeners[index].serve().answer() }
      _ = clients[index].status()
    }
    return try rows.result()
  }

  private func checkStale(_ result: LiveRows.Result) {
    let tried = [502, 200]
    #expect(
      result.outcomes["10"] == [Outcome(.prematurelyClosed, 200, tried, retried: true)])
    #expect(result.outcomes["10-POST"] == [Outcome(.prematurelyClosed, 502, [502], Outcome.post)])
    for name in ["11", "11-POST"] {
      #expect(
        result.outcomes[name] == [Outcome(.connectFailed, errno: 104, 200, tried, retried: true)],
        "row \(name)")
      // Nothing was sent on the old connection.
      #expect(result.requests[name]?[6].hasPrefix("0, ") == true, "row \(name)")
    }
    #expect(result.requests["10"]?[3].hasPrefix("0.000, ") == true)
  }

  // MARK: Rows 5 and 6

  /// The connection is there and has ended before nginx could write its request.
  private static func beforeTheRequest() throws -> LiveRows.Result {
    let listeners = [try Listener(), try Listener()]
    let rows = try LiveRows(
      http: """
        server { listen PORT;
          location /5 { proxy_pass http://127.0.0.1:\(listeners[0].port); }
          location /6 { proxy_pass http://127.0.0.1:\(listeners[1].port); } }
        """)
    for listener in listeners { listener.peer.swallow(true) }
    let clients = [rows.ask("5"), rows.ask("6")]
    // Their SYNs are on the way, and lost: they come again in a second.
    eventually("two connections on their way") {
      let table = (try? readFile("/proc/thread-self/net/tcp")) ?? []
      return String(decoding: table, as: UTF8.self).split(separator: "\n")
        .count { $0.split(separator: " ").dropFirst(3).first == "02" } == 2
    }
    rows.nginx.stopWorkers(true)
    for listener in listeners { listener.peer.swallow(false) }
    listeners[0].accept().close()
    listeners[1].accept().reset()
    rows.nginx.stopWorkers(false)
    for client in clients { _ = client.status() }
    return try rows.result()
  }

  private func checkEarly(_ result: LiveRows.Result) {
    #expect(
      result.outcomes["5"] == [Outcome(.prematurelyClosed, 502, [502], Outcome.single)])
    #expect(
      result.outcomes["6"] == [Outcome(.connectFailed, errno: 104, 502, [502], Outcome.single)])
    for name in ["5", "6"] {
      // The request was never written.
      #expect(result.requests[name]?[3] == "-", "row \(name)")
    }
  }

  // MARK: Rows 22 to 24

  /// The backend ends it while nginx has more of the body to pass on.
  private static func uploads() throws -> LiveRows.Result {
    let names = ["22", "23", "24"]
    let listeners = try names.map { _ in try Listener() }
    let locations = zip(names, listeners).map { name, listener in
      "location /\(name) { proxy_request_buffering off; "
        + "proxy_pass http://127.0.0.1:\(listener.port); }"
    }
    let rows = try LiveRows(http: "server { listen PORT; \(locations.joined(separator: "\n")) }")
    var clients: [Peer] = []
    var connections: [Peer] = []
    for (name, listener) in zip(names, listeners) {
      let client = rows.ask(name, method: "POST", length: 100_000)
      client.say(bytes: 1000)
      let connection = listener.accept()
      connection.read(more: 1000)
      clients.append(client)
      connections.append(connection)
    }
    rows.nginx.stopWorkers(true)
    for (index, name) in names.enumerated() {
      clients[index].say(bytes: 1000)
      if name != "24" {
        connections[index].say("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
      }
      switch name {
      case "22": connections[index].reset()
      case "23": connections[index].close()
      default:
        connections[index].finish()
        connections[index].reset()
      }
    }
    rows.nginx.stopWorkers(false)
    for client in clients { _ = client.status() }
    return try rows.result()
  }

  private static let row22 = [Outcome(.sendFailed, errno: 104, 502, [502], Outcome.post)]
  private static let row24 = [Outcome(.sendFailed, errno: 32, 502, [502], Outcome.post)]

  /// Which of its two ends a woken worker hears first is not ours to say on a busy machine; the rows are
  /// about the client's, so it is done again until it was that one.
  private static func clientHeardFirst(_ first: LiveRows.Result) throws -> LiveRows.Result {
    var result = first
    for _ in 0..<8 where result.outcomes["22"] != row22 || result.outcomes["24"] != row24 {
      result = try Network { try uploads() }.result()
    }
    return result
  }

  private func checkUploads(_ result: LiveRows.Result) {
    #expect(result.outcomes["22"] == Self.row22)
    #expect(result.outcomes["23"] == nil && result.requests["23"]?.first == "413")
    #expect(result.outcomes["24"] == Self.row24)
  }

  // MARK: Row 30

  /// TLS to a server that is real, through a relay that resets nginx's side once the request was read.
  @Test(.enabled(if: access("/usr/bin/openssl", X_OK) == 0))
  func `a reset in an established TLS connection looks like an end`() throws {
    let network = try Network {
      let hidden = try Listener()
      let directory = try TemporaryDirectory()
      _ = try runCommand(
        "/usr/bin/openssl",
        [
          "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
          "-nodes", "-subj", "/CN=x", "-keyout", directory["key"], "-out", directory["cert"],
        ])
      let server = try RealNginx(
        http: """
          server { listen PORT ssl; ssl_certificate \(directory["cert"]);
            ssl_certificate_key \(directory["key"]);
            location / { proxy_pass http://127.0.0.1:\(hidden.port); } }
          """)
      let relay = try Listener()
      let rows = try LiveRows(
        http: "server { listen PORT; location / { proxy_pass https://127.0.0.1:\(relay.port); } }")
      let client = rows.ask("30")
      let near = relay.accept()
      let far = Peer(to: server.port)
      // The request came through when the server asks its own backend.
      pump(near, far, until: hidden.peer)
      near.reset()
      _ = client.status()
      return try rows.result()
    }
    let result = try network.result()
    #expect(
      result.outcomes["30"] == [Outcome(.prematurelyClosed, 502, [502], Outcome.single)])
  }
}

/// Passes bytes on in both directions until a third descriptor has news.
private func pump(_ a: Peer, _ b: Peer, until end: Peer) {
  var chunk = [UInt8](repeating: 0, count: 16 << 10)
  while true {
    var waiting = [a, b, end].map {
      pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0)
    }
    guard poll(&waiting, 3, 20_000) > 0, waiting[2].revents == 0 else { return }
    for (index, other) in [b, a].enumerated() where waiting[index].revents != 0 {
      let count = read(waiting[index].fd, &chunk, chunk.count)
      guard count > 0 else { return }
      _ = send(other.descriptor, chunk, count, Int32(MSG_NOSIGNAL))
    }
  }
}
