package import Evidence
import LinuxHost

/// The IPv4 TCP sockets of the calling thread's network namespace, as `/proc/net/tcp` has them: by
/// it the lab sees what state a connection is in, and need not guess how long something takes.
package struct TCPTable {
  package struct Row: Hashable {
    package var local: Endpoint
    package var remote: Endpoint
    package var state: State
    /// Bytes that wait to be read by the owner (for a listener: connections to be accepted).
    package var receiveQueue: UInt64
  }

  /// Linux `include/net/tcp_states.h`.
  package enum State: UInt8 {
    case established = 1
    case synSent, synReceived, finWait1, finWait2, timeWait, closed, closeWait, lastAck, listen
    case closing, newSynReceived
  }

  package var rows: [Row] = []

  package init() throws {
    let bytes = try readFile("/proc/thread-self/net/tcp")
    for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n").dropFirst() {
      let fields = line.split(separator: " ")
      guard fields.count > 4, let local = Self.endpoint(fields[1]),
        let remote = Self.endpoint(fields[2]),
        let state = UInt8(fields[3], radix: 16).flatMap(State.init),
        let queue = fields[4].split(separator: ":").last.flatMap({ UInt64($0, radix: 16) })
      else { continue }
      rows.append(Row(local: local, remote: remote, state: state, receiveQueue: queue))
    }
  }

  package func row(local: Endpoint, remote: Endpoint) -> Row? {
    rows.first { $0.local == local && $0.remote == remote }
  }

  package func isListening(_ endpoint: Endpoint) -> Bool {
    rows.contains { $0.local == endpoint && $0.state == .listen }
  }

  /// `0100007F:1F40`: the address in memory order, the port as a number.
  private static func endpoint(_ text: Substring) -> Endpoint? {
    let parts = text.split(separator: ":")
    guard parts.count == 2, let address = UInt32(parts[0], radix: 16),
      let port = UInt16(parts[1], radix: 16)
    else { return nil }
    return Endpoint(address: IPAddress(v4: UInt32(bigEndian: address)), port: port)
  }
}
