import Evidence
import Testing

@testable import PortProbe

@Suite struct AnswerTests {
  private func feed(_ reader: inout HTTPResponseReader, _ text: String)
    -> HTTPResponseReader.Progress
  {
    Array(text.utf8).withUnsafeBytes { reader.take($0) }
  }

  @Test(
    arguments: [
      ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", true),
      ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nConnection: close\r\n\r\n", false),
      ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", false),
      ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\nx", true),
      ("HTTP/1.1 204 No Content\r\n\r\n", true),
      (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: 1\r\n\r\n",
        true
      ),
      ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 304 Not Modified\r\n\r\n", true),
    ]
  ) func `a response ends where it ends, in whatever pieces it comes`(text: String, keeps: Bool) {
    var whole = HTTPResponseReader()
    #expect(feed(&whole, text) == .complete(keepsAlive: keeps))
    var pieces = HTTPResponseReader()
    for (index, character) in text.unicodeScalars.enumerated() {
      let progress = feed(&pieces, String(character))
      let isLast = index == text.unicodeScalars.count - 1
      #expect(progress == (isLast ? .complete(keepsAlive: keeps) : .more))
    }
  }

  @Test func `a body without a length ends with the connection`() {
    var reader = HTTPResponseReader()
    #expect(feed(&reader, "HTTP/1.1 200 OK\r\n\r\nbody") == .more)
    #expect(reader.endsWithConnection)
    #expect(reader.status == 200)
  }

  @Test func `what is not HTTP is said to be not`() {
    for text in ["SSH-2.0-x\r\n", "\u{15}\u{3}", "HTTP/x\n", "HTTP/1.1 999999 x\n"] {
      var reader = HTTPResponseReader()
      #expect(feed(&reader, text) == .notHTTP)
    }
  }

  @Test func `answers to a ClientHello are told apart`() {
    #expect(TLSReply([21, 3, 3, 0, 2, 2, 40]) == .alert(40))
    #expect(TLSReply(Array("HTTP/1.1 400 Bad".utf8)) == .http(status: 400))
    #expect(TLSReply(Array("SSH-2.0".utf8)) == .other("SSH-2.0"))
    #expect(TLSReply(Array("HTT".utf8)) == nil)
    #expect(TLSReply([22, 3, 3]) == nil)
    let session = [UInt8](repeating: 7, count: 32)
    var hello: [UInt8] = [3, 3] + [UInt8](repeating: 1, count: 32) + [32] + session
    hello += [0x13, 0x01, 0, 0, 6, 0, 43, 0, 2, 3, 4]
    let record = [22, 3, 3, 0, UInt8(hello.count + 4), 2, 0, 0, UInt8(hello.count)] + hello
    #expect(TLSReply(record) == .serverHello(version: "TLS 1.3", cipher: 0x1301))
    for count in 0..<record.count where count < record.count - 20 {
      let reply = TLSReply(Array(record[..<count]))
      #expect(reply == nil || reply?.speaksTLS == true)
    }
    #expect(TLSReply.silence(.seconds(1)).speaksTLS == nil)
  }

  @Test func `a ClientHello holds the server's name and lengths that fit`() {
    let bytes = ClientHello.bytes(serverName: "web.local")
    #expect(Array(bytes[0..<3]) == [22, 3, 1])
    #expect(Int(bytes[3]) << 8 + Int(bytes[4]) == bytes.count - 5)
    #expect(Int(bytes[7]) << 8 + Int(bytes[8]) == bytes.count - 9)
    #expect(String(decoding: bytes, as: UTF8.self).contains("web.local"))
  }

  @Test func `ICMP messages are named`() {
    let router = IPAddress(v4: 0x0a00_0001)
    func text(_ v6: Bool, _ type: UInt8, _ code: UInt8, own: Bool = false) -> String {
      ICMPMessage(isV6: v6, type: type, code: code, offender: router, isOwn: own).description
    }
    #expect(
      text(false, 3, 3) == "port unreachable, a packet filter rejects it (ICMP 3/3 from 10.0.0.1)")
    #expect(text(false, 11, 0) == "time to live exceeded on the way (ICMP 11/0 from 10.0.0.1)")
    #expect(
      text(true, 1, 3, own: true)
        == "address unreachable: no answer to neighbour discovery (ICMPv6 1/3 from this host)")
  }

  @Test func `deadlines come in order, whatever their lengths`() {
    var lists = DeadlineLists(slots: 6)
    for slot in Int32(0)..<3 { lists.set(slot, after: 100, now: Int64(slot)) }
    for slot in Int32(3)..<6 { lists.set(slot, after: 10, now: Int64(slot)) }
    #expect(lists.next == 13)
    lists.remove(3)
    lists.set(0, after: 10, now: 50)
    var taken: [Int32] = []
    while let slot = lists.takeDue(200) { taken.append(slot) }
    #expect(Set(taken) == [0, 1, 2, 4, 5])
    #expect(lists.next == nil)
  }

  @Test func `a rate holds the SYNs back`() throws {
    var options = ConnectEngine.Options()
    options.settle = .zero
    let engine = try ConnectEngine(options, inFlight: 8)
    let bound = try #require(Bound())
    var queue = StartQueue(rate: 200)
    queue.add((0..<21).map { StartQueue.Item(target: bound.endpoint, token: $0) })
    let began = monotonicNow()
    var tokens: [Int] = []
    while tokens.count < 21 {
      #expect(queue.start(on: engine).isEmpty)
      engine.wait(until: queue.due(engine) ?? monotonicNow() + 10_000_000)
      tokens += engine.takeResults().map(\.token)
    }
    // Twenty pauses of 5 ms, less the 10 ms that may be caught up.
    #expect(monotonicNow() - began >= 85_000_000)
    #expect(tokens == Array(0..<21))
  }
}
