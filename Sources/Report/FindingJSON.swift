import Correlator
import Evidence

/// JSON forms of what was measured, compared and tried.
extension JSONReport {
  static func estimate(_ estimate: Estimate?) -> JSONValue {
    guard let estimate else { return .null }
    return .object([
      ("value", .number(estimate.value.seconds)), ("spread", .number(estimate.spread.seconds)),
      ("count", .integer(Int64(estimate.count))),
    ])
  }

  static func count(_ limit: CountEstimate?) -> JSONValue {
    guard let limit else { return .null }
    return .object([
      ("value", .integer(Int64(limit.value))), ("count", .integer(Int64(limit.count))),
      ("of", .integer(Int64(limit.of))),
    ])
  }

  static func size(_ threshold: SizeThreshold?) -> JSONValue {
    guard let threshold else { return .null }
    return .object([
      ("largest_answered", .optional(threshold.largestAnswered)),
      ("smallest_failed", .unsigned(threshold.smallestFailed)),
      ("largest_failed", .unsigned(threshold.largestFailed)),
      ("answered", .integer(Int64(threshold.answered))),
      ("failed", .integer(Int64(threshold.failed))), ("chance", .number(threshold.chance)),
    ])
  }

  static func whatIf(_ result: WhatIf?) -> JSONValue {
    guard let result else { return .null }
    return .object([
      ("directive", .string(result.setting.directive)), ("value", .string(result.setting.value)),
      ("upstream", .optional(result.upstream)),
      ("prevented", .integer(Int64(result.prevented))),
      ("uncertain", .integer(Int64(result.uncertain))),
      ("of_errors", .integer(Int64(result.ofErrors))),
      ("more_connections", .optional(result.moreConnections)),
      ("of_reuses", .optional(result.ofReuses)),
      ("notes", .array(result.notes.map { .string($0) })),
    ])
  }

  static func comparison(_ comparison: Comparison) -> JSONValue {
    .object([
      ("group", .string(comparison.group)), ("a", .string(comparison.a)),
      ("b", .string(comparison.b)), ("what", .string(comparison.what)),
      ("text", .string(comparison.text)), ("p_value", .number(comparison.pValue)),
      ("more", .optional(comparison.more)),
    ])
  }

  static func retrySafety(_ safety: RetrySafety) -> JSONValue {
    .object([("safe", .optional(safety.isSafe)), ("text", .string(safety.text))])
  }

  static func measured(_ finding: Finding) -> [(String, JSONValue)] {
    [
      ("request_limit", count(finding.requestLimit)),
      ("request_age", estimate(finding.requestAge)),
      ("size_threshold", size(finding.sizeThreshold)),
      ("recycled_after", .array(finding.recycledAfter.map { .integer(Int64($0)) })),
      ("what_if", whatIf(finding.whatIf)), ("led_to", .integer(Int64(finding.ledTo))),
      ("notes", .array(finding.notes.map { .string($0) })),
    ]
  }

  static func measured(_ upstream: UpstreamStatistics) -> [(String, JSONValue)] {
    [
      ("request_limit", count(upstream.requestLimit)),
      ("request_age", estimate(upstream.requestAge)),
      ("size_threshold", size(upstream.sizeThreshold)),
      ("most_open", .optional(upstream.mostOpen)), ("evicted", .optional(upstream.evicted)),
      ("reuses", .unsigned(upstream.reuses)),
    ]
  }
}
