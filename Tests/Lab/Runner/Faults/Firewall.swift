import Evidence
import Glibc
import LabWorld

/// The network loses packets to a backend for a while: those that open a connection (`silence`), all
/// with an ICMP answer (`unroutable`), or those of connections that are open already (`blackhole`).
struct Firewall: FaultMaker {
  func make(_ number: Int, _ injection: Injection) throws -> Int {
    let server = try injection.server()
    let client = injection.client
    let batch = min(injection.fault.number("batch", 3), 20)
    let isBlackhole = injection.fault.kind == "blackhole"
    if isBlackhole {
      // As many connections as there will be requests.
      let warm = try (0..<batch).map { index in
        try client.send(
          Client.Request(
            method: "GET",
            path: injection.path(injection.token(number + 50 + index), word: "warm") + "?ms=100"))
      }
      for pending in warm { _ = client.finish(pending) }
    }
    let rule =
      switch injection.fault.kind {
      case "unroutable": "tcp flags & (syn|ack) == syn reject with icmp type host-unreachable"
      case "blackhole": "drop"
      default: "tcp flags & (syn|ack) == syn drop"
      }
    let table = "lab\(injection.stream)x\(number)"
    try nft(
      """
      table ip \(table) { chain input { type filter hook input priority 0; \
      ip daddr \(server.endpoint.address) tcp dport \(server.endpoint.port) \(rule); }; }
      """, injection)
    defer { try? nft("delete table ip \(table)", injection) }
    let pending = try (0..<batch).map { index in
      let token = injection.token(number + index)
      let path = injection.path(token, word: "ok")
      return (token, try client.send(Client.Request(method: injection.fault.method, path: path)))
    }
    var made = 0
    for (token, request) in pending {
      let answer = client.finish(request)
      if injection.record(token, answer, close: isBlackhole ? .wire : .opened) { made += 1 }
    }
    return made
  }

  private func nft(_ text: String, _ injection: Injection) throws {
    guard let nft = findProgram("nft") else {
      throw ProbeError(
        doing: "find nft", reason: "it is not installed", remedy: "apt-get install nftables")
    }
    let output = "\(injection.bed.directory)/nft.\(injection.stream)"
    try injection.bed.backendSpace.run { _ = try runProgram(nft, [text], output: output) }
  }
}

/// Somebody on the way sends a reset in the backend's name, while a request waits for its answer.
struct ForgedReset: FaultMaker {
  func make(_ number: Int, _ injection: Injection) throws -> Int {
    let server = try injection.server()
    let token = injection.token(number)
    let client = injection.client
    let pending = try client.send(
      Client.Request(
        method: injection.fault.method, path: injection.path(token, word: "slow") + "?ms=1500"))
    _ = try injection.awaitDeed(token, of: server)
    // The acknowledgement of the last packet may still be on its way.
    try injection.rest(milliseconds: 20)
    let wire = injection.bed.wire
    guard let port = wire.port(of: token, to: server.endpoint.address),
      let sequence = wire.expected(on: port)
    else { throw ProbeError(doing: "forge a reset", reason: "the connection was not seen") }
    let packet = Self.reset(
      from: server.endpoint, to: Endpoint(address: Bed.nginxAddress, port: port),
      sequence: sequence, timeToLive: UInt8(injection.fault.number("ttl", 58)))
    try injection.bed.backendSpace.run { try Self.send(packet) }
    return injection.record(token, client.finish(pending)) ? 1 : 0
  }

  /// An IPv4 packet; the kernel fills in its length and checksum.
  static func reset(
    from source: Endpoint, to target: Endpoint, sequence: UInt32, timeToLive: UInt8
  ) -> [UInt8] {
    func bytes(_ number: UInt32) -> [UInt8] {
      [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: number >> $0) }
    }
    func bytes(_ number: UInt16) -> [UInt8] { [UInt8(number >> 8), UInt8(number & 255)] }
    let (from, to) = (source.address.v4 ?? 0, target.address.v4 ?? 0)
    let ip: [UInt8] =
      [0x45, 0, 0, 40, 0x30, 0x39, 0x40, 0, timeToLive, 6, 0, 0] + bytes(from) + bytes(to)
    var tcp: [UInt8] = bytes(source.port) + bytes(target.port) + bytes(sequence)
    tcp += [0, 0, 0, 0, 0x50, 0x04, 0x20, 0, 0, 0, 0, 0]
    let pseudo = bytes(from) + bytes(to) + [0, 6, 0, 20] + tcp
    var sum = stride(from: 0, to: pseudo.count, by: 2).reduce(UInt32(0)) {
      $0 + UInt32(pseudo[$1]) << 8 + UInt32(pseudo[$1 + 1])
    }
    while sum >> 16 != 0 { sum = sum & 0xffff + sum >> 16 }
    tcp.replaceSubrange(16..<18, with: bytes(UInt16(truncatingIfNeeded: ~sum)))
    return ip + tcp
  }

  static func send(_ packet: [UInt8]) throws {
    let raw = socket(AF_INET, Int32(SOCK_RAW.rawValue | SOCK_CLOEXEC.rawValue), 255)  // IPPROTO_RAW
    guard raw >= 0 else {
      throw ProbeError(doing: "open a raw socket", reason: "errno \(errno)")
    }
    defer { close(raw) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    memcpy(&address.sin_addr, Array(packet[16..<20]), 4)
    let sent = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        sendto(raw, packet, packet.count, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard sent == packet.count else {
      throw ProbeError(doing: "send a forged reset", reason: "errno \(errno)")
    }
  }
}

/// The backend accepts nothing (its workers stand still), its queue is full: the kernel drops SYNs.
struct FullQueue: FaultMaker {
  func make(_ number: Int, _ injection: Injection) throws -> Int {
    let server = try injection.server()
    guard let master = server.masterPID else { return 0 }
    let workers = children(of: master)
    for worker in workers { kill(worker, SIGSTOP) }
    defer { for worker in workers { kill(worker, SIGCONT) } }
    var fillers: [Int32] = []
    defer { for filler in fillers { close(filler) } }
    for _ in 0..<8 { fillers.append(open(to: server.endpoint)) }
    try injection.rest(milliseconds: 50)
    let client = injection.client
    let pending = try (0..<min(injection.fault.number("batch", 3), 20)).map { index in
      let token = injection.token(number + index)
      let path = injection.path(token, word: "ok")
      return (token, try client.send(Client.Request(method: injection.fault.method, path: path)))
    }
    var made = 0
    for (token, request) in pending {
      if injection.record(token, client.finish(request), close: .opened) { made += 1 }
    }
    return made
  }

  /// A connection of ours that nobody will take from the queue.
  private func open(to endpoint: Endpoint) -> Int32 {
    let kind = SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue
    let descriptor = socket(AF_INET, Int32(kind), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = (endpoint.address.v4 ?? 0).bigEndian
    address.sin_port = endpoint.port.bigEndian
    _ = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    return descriptor
  }
}
