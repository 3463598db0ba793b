import Correlator
import Evidence
import Foundation
import Testing

@testable import Report

/// The reports against the published schema. A field that is not in the schema is an error here,
/// though not to a reader.
@Suite struct ReportSchemaTests {
  private let schema = Result {
    try JSONSerialization.jsonObject(with: Data(ReportSchema.text.utf8)) as? [String: Any] ?? [:]
  }

  private func check(_ document: JSONValue, _ part: String? = nil) throws -> [String] {
    let schema = try schema.get()
    let value = try JSONSerialization.jsonObject(with: Data(document.compact.utf8))
    let definitions = schema["$defs"] as? [String: [String: Any]] ?? [:]
    let validator = Validator(definitions: definitions)
    return validator.errors(value, part.flatMap { definitions[$0] } ?? schema, "")
  }

  @Test func `a session with races, probes and blind spots fits the schema, field by field`() throws
  {
    var session = ReportSession()
    for index in 1...6 { _ = session.idleClose(after: .seconds(5), at: .seconds(Int64(index) * 9)) }
    session.race(at: .seconds(80))
    session.observe(
      .port(PortCheck(target: ReportSession.backend, outcome: .open)), at: .seconds(81))
    session.observe(
      .blindSpot(BlindSpot(id: "x", what: "something", cost: "much")), at: .seconds(82))
    session.observe(
      .upstreamTraffic(
        UpstreamTraffic(
          upstream: .tcp(ReportSession.backend), tries: 10, failures: 1,
          responseTime: Quantiles(count: 10, p50: 0.1, p95: 0.2, p99: 0.3, largest: 0.4))),
      at: .seconds(83))
    let (summary, _) = session.finished()
    #expect(summary.incidents.first?.close != nil)
    #expect(try check(JSONReport(utcOffset: 3600).summary(summary)) == [])
    for incident in summary.incidents {
      #expect(try check(JSONReport().incident(incident), "incident") == [])
    }
  }

  @Test func `an empty session fits the schema`() throws {
    var correlator = Correlator()
    _ = correlator.finish()
    #expect(try check(JSONReport().summary(correlator.summary())) == [])
  }

  @Test func `each cause and each message of nginx is in the schema`() throws {
    let definitions = try schema.get()["$defs"] as? [String: [String: Any]] ?? [:]
    #expect(definitions["cause"]?["enum"] as? [String] == CauseID.allCases.map(\.rawValue))
    let incident = definitions["incident"]?["properties"] as? [String: [String: Any]]
    #expect(incident?["kind"]?["enum"] as? [String] == NginxMessage.allCases.map(\.rawValue))
  }

  @Test func `the validator finds what does not fit`() throws {
    let (summary, _) = ReportSession().quiet()
    guard case .object(var members) = JSONReport().summary(summary) else { return }
    members.removeAll { $0.0 == "books" }
    members.append(("incidents", .string("none")))
    members.append(("surplus", .null))
    #expect(
      try check(.object(members)) == [
        "/books is missing", "/incidents is no array", "/surplus is not in the schema",
      ])
  }
}

/// As much of JSON Schema as the reports' schema uses.
private struct Validator {
  let definitions: [String: [String: Any]]

  func errors(_ value: Any, _ schema: [String: Any], _ path: String) -> [String] {
    if let reference = schema["$ref"] as? String {
      let name = String(reference.dropFirst("#/$defs/".count))
      guard let target = definitions[name] else { return ["\(path): no definition \(name)"] }
      return errors(value, target, path)
    }
    if let choices = schema["anyOf"] as? [[String: Any]] {
      let all = choices.map { errors(value, $0, path) }
      return all.contains([]) ? [] : all.min { $0.count < $1.count } ?? []
    }
    let types = schema["type"] as? [String] ?? [schema["type"] as? String ?? ""]
    guard let type = types.first(where: { isOf($0, value) }) else {
      return ["\(path) is no \(types.joined(separator: " or "))"]
    }
    var found: [String] = []
    if let allowed = schema["enum"] as? [Any], let text = value as? String,
      !allowed.contains(where: { $0 as? String == text })
    {
      found.append("\(path): '\(text)' is not listed")
    }
    if let least = schema["minimum"] as? Double, let number = value as? Double, number < least {
      found.append("\(path) is below \(least)")
    }
    if let pattern = schema["pattern"] as? String, let text = value as? String,
      text.range(of: pattern, options: .regularExpression) == nil
    {
      found.append("\(path): '\(text)' does not match")
    }
    if type == "array", let items = schema["items"] as? [String: Any], let array = value as? [Any] {
      for (index, item) in array.enumerated() { found += errors(item, items, "\(path)/\(index)") }
    }
    if type == "object", let object = value as? [String: Any] {
      found += members(object, schema, path)
    }
    return found
  }

  private func members(
    _ object: [String: Any], _ schema: [String: Any], _ path: String
  ) -> [String] {
    var found: [String] = []
    let properties = schema["properties"] as? [String: [String: Any]] ?? [:]
    for name in schema["required"] as? [String] ?? [] where object[name] == nil {
      found.append("\(path)/\(name) is missing")
    }
    for (name, value) in object.sorted(by: { $0.key < $1.key }) {
      if let property = properties[name] ?? schema["additionalProperties"] as? [String: Any] {
        found += errors(value, property, "\(path)/\(name)")
      } else {
        found.append("\(path)/\(name) is not in the schema")
      }
    }
    return found
  }

  private func isOf(_ type: String, _ value: Any) -> Bool {
    let number = value as? NSNumber
    let isBool = number.map { isBoolean($0) } ?? false
    switch type {
    case "null": return value is NSNull
    case "boolean": return isBool
    case "string": return value is String
    case "array": return value is [Any]
    case "object": return value is [String: Any]
    case "number": return number != nil && !isBool
    case "integer":
      return number != nil && !isBool && number?.doubleValue.rounded() == number?.doubleValue
    default: return false
    }
  }

  /// JSONSerialization gives numbers and booleans the same class.
  private func isBoolean(_ number: NSNumber) -> Bool { number.objCType.pointee == 99 }
}
