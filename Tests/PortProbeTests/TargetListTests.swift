import Evidence
import Testing

@testable import PortProbe

@Suite struct TargetListTests {
  private func endpoints(_ text: String, _ addresses: [IPAddress] = []) throws -> [String] {
    var all: [String] = []
    try TargetSpec(text).forEachEndpoint(of: addresses) { all.append("\($0)") }
    return all
  }

  @Test func `addresses, networks, ranges and lists are spelt out`() throws {
    #expect(try endpoints("10.0.0.1:80") == ["10.0.0.1:80"])
    #expect(
      try endpoints("10.0.0.1:80-81,443") == ["10.0.0.1:80", "10.0.0.1:81", "10.0.0.1:443"])
    #expect(
      try endpoints("10.0.0.7/30:80")
        == ["10.0.0.4:80", "10.0.0.5:80", "10.0.0.6:80", "10.0.0.7:80"])
    #expect(try endpoints("[2001:db8::1]:443") == ["[2001:db8::1]:443"])
    #expect(try endpoints("[2001:db8::]/127:1") == ["[2001:db8::]:1", "[2001:db8::1]:1"])
    #expect(try endpoints("[2001:db8::/127]:1") == ["[2001:db8::]:1", "[2001:db8::1]:1"])
    #expect(try endpoints("web-1.local:1-2", [IPAddress(v4: 0x0a00_0001)]).count == 2)
    #expect(try endpoints("10.0.0.1:65535-65535") == ["10.0.0.1:65535"])
    #expect(try TargetSpec("10.0.0.7/30:80,90-91").description == "10.0.0.4/30:80,90-91")
  }

  @Test(
    arguments: [
      "", ":", "10.0.0.1", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:9-8",
      "10.0.0.1:+80", "10.0.0.1:1,", "10.0.0.256:80", "10.0.0.0/33:80", "10.0.0.0/x:80",
      "10.0.0.0/8:80", "10.0.0.0/12:1-65535", "2001:db8::1:80", "[2001:db8::1]", "[web]:80",
      "web/24:80", "we b:80", "-web:80", "[::]/64:80", "a\u{1b}[2J:80",
    ]
  ) func `what is no target is refused with a reason`(text: String) {
    #expect(throws: TargetSpec.Invalid.self) { try TargetSpec(text) }
    do { _ = try TargetSpec(text) } catch { #expect(!"\(error)".contains("\u{1b}")) }
  }

  @Test func `a file keeps its good lines and names the bad ones`() {
    let text = "# fleet\n10.0.0.1:80\r\n\n  web:8080 # the web\n10.0.0.1\n10.0.0.1:80 10.0.0.2:80"
    let file = TargetFile(Array(text.utf8), path: "fleet.txt")
    #expect(
      file.specs.map(\.description)
        == ["10.0.0.1:80", "web:8080", "10.0.0.1:80", "10.0.0.2:80"])
    #expect(
      file.errors == [
        "fleet.txt:5: \"10.0.0.1\" is no target: it needs a port, as in 10.0.0.1:8080"
      ])
  }

  @Test func `a file of noise neither traps nor hangs`() {
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<200 {
      let bytes = (0..<300).map { _ in
        Bool.random()
          ? UInt8.random(in: 0...255) : Array("0123456789.:/-,[]\n".utf8).randomElement()!
      }
      _ = TargetFile(bytes, path: "x")
    }
    _ = generator.next()
  }
}
