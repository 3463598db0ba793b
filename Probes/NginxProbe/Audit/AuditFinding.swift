import Evidence

/// One thing in a configuration that makes closes hurt, where it is, and what to write instead.
public struct AuditFinding: Hashable, Sendable {
  /// Stable identifier of the rule.
  public var rule: String
  public var severity: Severity
  public var file: String
  /// From 1; 0 where nothing is written (a compiled-in default).
  public var line: Int
  /// Other places with the same fault, as `/etc/nginx/nginx.conf:31`.
  public var also: [String] = []
  /// What is wrong, in one sentence.
  public var message: String
  /// What comes of it: the errors that will be seen.
  public var leadsTo: String
  public var fix: Fix

  /// What to write.
  public struct Fix: Hashable, Sendable {
    /// As it is to be written, ready to be pasted; may have several lines.
    public var text: String
    /// The block that it belongs to.
    public var place: String
    /// What it costs.
    public var tradeOff: String

    public init(_ text: String, in place: String, tradeOff: String) {
      self.text = text
      self.place = place
      self.tradeOff = tradeOff
    }
  }

  /// How sure it is that the configuration itself is at fault.
  public enum Severity: Int, Hashable, Comparable, Sendable {
    /// Right or wrong by what the backends do, which the configuration does not say.
    case note
    /// It will make errors, or hide them.
    case warning
    /// It cannot work as it is meant.
    case error

    public var name: String {
      switch self {
      case .note: "note"
      case .warning: "warning"
      case .error: "error"
      }
    }

    public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
  }

  /// As `/etc/nginx/nginx.conf:31`.
  public var location: String { line > 0 ? "\(file):\(line)" : file }

  init(
    _ rule: String, _ severity: Severity, at directive: Directive, _ message: String,
    leadsTo: String, fix: Fix
  ) {
    self.rule = rule
    self.severity = severity
    file = Self.printable(directive.file)
    line = directive.line
    self.message = message
    self.leadsTo = leadsTo
    self.fix = fix
  }

  private static func printable(_ text: String) -> String {
    String(escapingControlsIn: text.utf8)
  }
}
