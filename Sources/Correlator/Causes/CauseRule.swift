import Evidence

/// One cause: what speaks for it and against it, what was looked for, and what to change. A cause is
/// one file; its weights stand beside the reason for each.
protocol CauseRule: Sendable {
  var id: CauseID { get }

  /// What it scores before any evidence, in decibans against `unknown` (0).
  var prior: Double { get }

  /// The evidence for (positive) and against (negative) it. Empty: nothing speaks for it at all, and
  /// it is left out.
  func weigh(_ c: Case) -> [EvidenceItem]

  /// Why it is ruled out, when it was looked for and not found; nil when it could not be looked for.
  func ruledOut(_ c: Case) -> String?

  func fix(_ c: Case) -> Fix?
}

extension CauseRule {
  var prior: Double { 0 }
  func ruledOut(_ c: Case) -> String? { nil }
  func fix(_ c: Case) -> Fix? { nil }
}

/// The list of causes: one line each.
let causeRules: [any CauseRule] = [
  StaleKeepalive(),
  RequestLimit(),
  ChangedDefaults(),
  OutOfMemoryKill(),
  Crash(),
  Killed(),
  MasterTimeout(),
  WorkerRecycle(),
  Restart(),
  NginxReload(),
  Exited(),
  HeaderTooLarge(),
  BodyTooLarge(),
  ClosedWithoutResponse(),
  TruncatedResponse(),
  NotListening(),
  AcceptQueueOverflow(),
  Unreachable(),
  NginxClosedFirst(),
  NginxLimits(),
  PeersDisabled(),
  NameResolution(),
  TLSFailure(),
  SchemeMismatch(),
  InvalidResponse(),
  ConnectionTracking(),
  Middlebox(),
]

extension Correlator {
  /// The causes that a verdict may name, besides `unknown`.
  public static var causes: Set<CauseID> { Set(causeRules.map(\.id)) }
}
