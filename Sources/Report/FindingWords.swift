package import Correlator
import Evidence

/// The clauses of a finding that every form of the report has.
package enum FindingWords {
  /// As `would have prevented 41 of 43 errors; at most 12 of 1204 reuses would have been new connections`.
  package static func effect(_ result: WhatIf) -> String {
    var parts: [String] = []
    if result.ofErrors > 0 {
      var text = "would have prevented \(result.prevented) of \(result.ofErrors) errors"
      if result.uncertain > 0 { text += " (\(result.uncertain) more uncertain)" }
      parts.append(text)
    }
    if let more = result.moreConnections {
      let reuses = result.ofReuses.map { " (\($0) reuses were seen)" } ?? ""
      if more > 0 {
        parts.append("at most \(more) more connection\(more == 1 ? "" : "s")\(reuses)")
      } else if more < 0 {
        parts.append("up to \(-more) fewer connections")
      } else {
        parts.append("no more connections\(reuses)")
      }
    } else if result.ofErrors > 0, result.prevented > 0, result.setting.isAboutConnections {
      parts.append("what it costs in connections was not counted")
    }
    return (parts + result.notes).joined(separator: "; ")
  }

  /// As `keepalive_timeout 4s on 10.0.0.1:80: would have …`.
  package static func tried(_ result: WhatIf) -> String {
    let place = result.upstream.map { " on \($0)" } ?? ""
    let effect = effect(result)
    return "\(result.setting.directive) \(result.setting.value)\(place): "
      + (effect.isEmpty ? "would have changed nothing that was seen" : effect)
  }

  /// As `errors: 41 of 2104 requests against 2 of 2090 (A : B), no chance (p below 1 in a million)`.
  package static func difference(_ comparison: Comparison) -> String {
    let judgement =
      comparison.more == nil
      ? "may be chance (p = \(Correlator.chance(comparison.pValue)))"
      : "not chance (p \(comparison.pValue < 0.001 ? "" : "= ")\(Correlator.chance(comparison.pValue)))"
    return "\(comparison.what): \(comparison.text): \(judgement)"
  }

  /// As `led to 12 "no live upstreams": #13, #14, #15 …`; nil when it led to none.
  package static func effects(_ incident: Incident) -> String? {
    guard incident.ledToCount > 0 else { return nil }
    let shown = incident.ledTo.prefix(5).map { "#\($0)" }.joined(separator: ", ")
    return "led to \(incident.ledToCount) \"no live upstreams\": \(shown)"
      + (incident.ledToCount > 5 ? " …" : "")
  }
}

extension WhatIfSetting {
  fileprivate var isAboutConnections: Bool {
    switch self {
    case .keepaliveTimeout, .keepaliveRequests, .keepalive: true
    case .nextUpstream, .readTimeout, .maxFails: false
    }
  }
}
