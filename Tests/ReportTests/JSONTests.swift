import Foundation
import Report
import Testing

@Suite struct JSONTests {
  @Test func `members keep their order and nulls are written`() {
    let value = JSONValue.object([
      ("z", .null), ("a", .array([.integer(-1), .number(0.25), .bool(true)])),
      ("s", .string("é\"\n")),
    ])
    #expect(value.compact == #"{"z":null,"a":[-1,0.25,true],"s":"é\"\n"}"#)
  }

  @Test func `numbers are plain decimals`() {
    #expect(JSONValue.number(0.000_000_12).compact == "0.000000120")
    #expect(JSONValue.number(.nan).compact == "null")
    #expect(JSONValue.number(3).compact == "3")
    #expect(JSONValue.number(1.5e300).compact == "1.5e+300")
  }

  @Test func `control characters are escaped so that a parser reads them back`() throws {
    let text = (0..<0x80).map { String(UnicodeScalar($0) ?? " ") }.joined()
    let data = Data(JSONValue.array([.string(text)]).compact.utf8)
    #expect(try JSONDecoder().decode([String].self, from: data) == [text])
  }
}
