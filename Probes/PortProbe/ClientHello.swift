/// A TLS ClientHello (RFC 8446 4.1.2), enough for any server to answer: it offers TLS 1.0 to 1.3.
/// No handshake follows.
enum ClientHello {
  /// - Parameter serverName: for SNI; nil for a bare address, which must not stand there (RFC 6066 3).
  static func bytes(serverName: String?) -> [UInt8] {
    var random = SystemRandomNumberGenerator()
    func noise(_ count: Int) -> [UInt8] { (0..<count).map { _ in random.next() } }

    var body: [UInt8] = [3, 3]
    body += noise(32)
    // A session id is opaque. An HTTP server that waits for the end of a line gets one, and answers.
    body += [32] + noise(28) + [13, 10, 13, 10]
    body += lengthPrefixed(words(ciphers), 2)
    body += [1, 0]
    var extensions: [UInt8] = []
    if let serverName {
      let name = [0] + lengthPrefixed(Array(serverName.utf8), 2)
      extensions += tlsExtension(0, lengthPrefixed(name, 2))
    }
    extensions += tlsExtension(10, lengthPrefixed(words(groups), 2))
    extensions += tlsExtension(11, [1, 0])
    extensions += tlsExtension(13, lengthPrefixed(words(signatures), 2))
    extensions += tlsExtension(43, lengthPrefixed(words([0x0304, 0x0303, 0x0302, 0x0301]), 1))
    extensions += tlsExtension(45, [1, 1])
    // Any 32 bytes are an X25519 public key.
    extensions += tlsExtension(
      51, lengthPrefixed(words([0x001d]) + lengthPrefixed(noise(32), 2), 2))
    body += lengthPrefixed(extensions, 2)
    let handshake = [1] + lengthPrefixed(body, 3)
    return [22, 3, 1] + lengthPrefixed(handshake, 2)
  }

  private static let ciphers: [UInt16] = [
    0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc009, 0xc013, 0xc00a,
    0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
  ]
  private static let groups: [UInt16] = [0x001d, 0x0017, 0x0018, 0x0019]
  private static let signatures: [UInt16] = [
    0x0403, 0x0503, 0x0603, 0x0807, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201,
  ]

  private static func tlsExtension(_ type: UInt16, _ data: [UInt8]) -> [UInt8] {
    words([type]) + lengthPrefixed(data, 2)
  }

  private static func words(_ values: [UInt16]) -> [UInt8] {
    values.flatMap { [UInt8($0 >> 8), UInt8($0 & 255)] }
  }

  /// - Parameter width: bytes of the length, most significant first.
  private static func lengthPrefixed(_ bytes: [UInt8], _ width: Int) -> [UInt8] {
    (0..<width).reversed().map { UInt8(truncatingIfNeeded: bytes.count >> ($0 * 8)) } + bytes
  }
}
