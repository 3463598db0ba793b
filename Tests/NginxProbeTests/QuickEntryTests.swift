import Evidence
import Testing

@testable import NginxProbe

/// The quick look against the whole grammar: whatever it claims, the other says too.
@Suite struct QuickEntryTests {
  /// Both readings of a line, with the quick one's own state as a long log leaves it.
  static func check(_ line: [UInt8], _ quick: inout QuickEntry, _ look: inout FirstLook?) {
    let whole = ScannedEntry(line.span)
    let found = line.withUnsafeBufferPointer { quick.look(at: $0) }
    look = found
    let text = String(decoding: line, as: UTF8.self)
    switch found {
    case .unusual: break
    case .other(let kind):
      #expect(whole?.kind == kind, "\(text)")
      #expect(whole?.header.pid == quick.pid, "\(text)")
    case .failure:
      let own = ScannedEntry(quick)
      #expect(whole?.kind == own.kind, "\(text)")
      #expect(whole?.header == own.header, "\(text)")
      #expect(whole?.errno == own.errno, "\(text)")
      #expect(whole?.context == own.context, "\(text)")
    }
  }

  static let heads = [
    "2026/11/24 10:01:02 [error] 41#41: *7 ", "2026/11/24 10:01:59 [crit] 41#42: *123456 ",
    "2026/11/24 10:01:60 [alert] 4194304#1: ", "2026/11/24 10:02:00 [warn] 1#1: *1 ",
    "2026/11/24 10:02:00 [notice] 1#1: *1 ", "2026/13/24 10:02:00 [error] 1#1: *1 ",
    "2026/11/24 10:02:0x [error] 1#1: *1 ", "2026/11/24 10:02:00 [info] 7#7: *99999999999 ",
    "2026/11/24 10:02:00 [emerg] 7#7:*9 ", "2026/11/24 10:02:00 [errors] 7#7: *9 ",
  ]
  static let tails = [
    ", client: 192.0.2.7, server: www.example.org, request: \"GET /a?b=c HTTP/1.1\", "
      + "upstream: \"http://10.0.1.11:8080/a?b=c\", host: \"www.example.org\"",
    ", client: 192.0.2.7, server: , request: \"GET /a HTTP/1.1\", host: \"h\", referrer: \"x\"",
    ", client: unix:, server: a, request: \"POST /a HTTP/2.0\", subrequest: \"/x\", upstream: "
      + "\"http://unix:/run/a.sock:/a\", host: \"h\"",
    ", client: ::1, server: a,b, request: \"GET /\" HTTP/1.1\", upstream: \"fastcgi://10.0.0.1:9\"",
    ", client: 1.2.3.4, server: a, request: \"GET /a%0A HTTP/1.1\", upstream: \"http://1.2.3.4:5/\"",
    ", client: 1.2.3.4, server: 0.0.0.0:80, upstream: \"1.2.3.4:5\", bytes from/to client:1/2, "
      + "bytes from/to upstream:3/4",
    ", client: 1.2.3.4, server: a, request: \"GET /\", host: \"h\", referrer: \"a HTTP/1.1\"",
    ", client: 1.2.3.4, server: a, request: \"GET /a HTTP/1.1\", host: \"h\"o\", referrer: \"",
    ", client: 1.2.3.4, server: a, request: \"GET /a HTTP/1.1\", host: \"h\", referrer: \"\"",
    ", client: 1.2.3.4, server: a, request: \"GET /a HTTP/1.1\", upstream: \"http://grp/a\"\", host",
    ", client: 1.2.3.4, server: a, request: \"GET /a, client: 5, server: c HTTP/1.1\"", "",
  ]

  @Test func `every message of the tables, in every frame`() {
    var quick = QuickEntry()
    var look: FirstLook?
    var failures = 0
    let rows =
      MessageKindTests.connect + MessageKindTests.handshake + MessageKindTests.exchange
      + MessageKindTests.protocols + MessageKindTests.clients
    for row in rows {
      for head in Self.heads {
        for tail in Self.tails {
          let action = row.action.map { " while \($0)" } ?? ""
          Self.check(Array("\(head)\(row.message)\(action)\(tail)".utf8), &quick, &look)
          if case .failure? = look { failures += 1 }
        }
      }
    }
    // It is of no use if it never finds any.
    #expect(failures > 300)
  }

  @Test func `lines that are cut or changed at any byte`() {
    var quick = QuickEntry()
    var look: FirstLook?
    var random = FixedRandom(seed: 11)
    let messages = [
      "upstream timed out (110: Connection timed out) while reading response header from upstream",
      "no live upstreams while connecting to upstream",
      "epoll_wait() reported that client prematurely closed connection, so upstream connection is "
        + "closed too while sending request to upstream",
    ]
    let strange = Array("\", :%*#()\u{1b}\n while client: HTTP/".utf8)
    for message in messages {
      for tail in Self.tails {
        let line = Array((Self.heads[0] + message + tail).utf8)
        for end in line.indices { Self.check(Array(line[..<end]), &quick, &look) }
        for _ in 0..<2000 {
          var changed = line
          for _ in 0...random.next(3) {
            changed[random.next(changed.count)] = strange[random.next(strange.count)]
          }
          Self.check(changed, &quick, &look)
        }
      }
    }
  }

  @Test func `the numbers that stand for words`() {
    func number(_ text: String) -> UInt64 {
      text.utf8.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
    #expect(Word.error == number(" [error]"))
    #expect(Word.alert == number(" [alert]"))
    #expect(Word.emerg == number(" [emerg]"))
    #expect(Word.debug == number(" [debug]"))
    #expect(Word.notice == number(" [notice"))
    #expect(Word.crit == number(" [crit] "))
    #expect(Word.warn == number(" [warn] "))
    #expect(Word.info == number(" [info] "))
    #expect(Word.client == number(", client"))
    #expect(Word.server == number(", server"))
    #expect(Word.request == number(", reques") && Word.requestEnd == number("quest: \""))
    #expect(Word.upstream == number(", upstre") && Word.upstreamEnd == number("tream: \""))
    #expect(Word.referrer == number(", referr") && Word.referrerEnd == number("errer: \""))
    #expect(Word.host == number(", host: "))
    #expect(Word.while == number(" while ") && Word.http == number(" HTTP/"))
  }

  @Test func `a kind's number is its place among all kinds`() {
    #expect(NginxMessage.allCases.map(\.ordinal) == Array(NginxMessage.allCases.indices))
  }
}

/// The same numbers each time.
struct FixedRandom {
  var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next(_ limit: Int) -> Int {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return Int(state >> 33) % limit
  }
}
