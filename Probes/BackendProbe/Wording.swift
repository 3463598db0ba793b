import Evidence
import LinuxHost

/// What a line of a backend's log means.
struct Wording: Equatable {
  var program: BackendLine.Program
  var kind: BackendLine.Kind
  var pid: Int32?
  var signal: Int32?
  var code: Int32?
  var limit: UInt64?
  var measured: UInt64?
  var peer: Endpoint?
  var unit: String?

  init(
    _ program: BackendLine.Program, _ kind: BackendLine.Kind, pid: Int32? = nil,
    signal: Int32? = nil, code: Int32? = nil, limit: UInt64? = nil, measured: UInt64? = nil,
    peer: Endpoint? = nil, unit: String? = nil
  ) {
    self.program = program
    self.kind = kind
    self.pid = pid
    self.signal = signal
    self.code = code
    self.limit = limit
    self.measured = measured
    self.peer = peer
    self.unit = unit
  }

  /// A way of saying something: lines that hold `mark` are looked at.
  struct Rule: Sendable {
    /// Rare enough that hardly any other line holds it.
    let mark: StaticString
    /// Nil: the line means something else.
    let read: @Sendable (Substring) -> Wording?

    init(_ mark: StaticString, _ read: @escaping @Sendable (Substring) -> Wording?) {
      self.mark = mark
      self.read = read
    }
  }

  /// Every rule; the first that reads a line decides.
  static let rules: [Rule] =
    gunicorn + uwsgi + phpFPM + puma + apache + haproxy + systemd + failures

  /// What a line says; nil for one that says nothing of an end.
  ///
  /// Most lines are requests that were answered: none of the marks is in them, and finding that out
  /// costs no more than a search of the bytes.
  static func read(_ line: UnsafeRawBufferPointer) -> Wording? {
    var text: Substring?
    for rule in rules where occurs(rule.mark, in: line) {
      let known = text ?? Substring(decoding: line, as: UTF8.self)
      text = known
      if let wording = rule.read(known) { return wording }
    }
    return nil
  }
}

extension Substring {
  /// The process id with which it begins.
  var leadingPID: Int32? {
    leadingNumber().flatMap { $0.value > 0 ? Int32(exactly: $0.value) : nil }
  }

  /// The pid behind `text`.
  func pid(after text: StaticString) -> Int32? { after(text)?.leadingPID }

  /// The number behind `text`.
  func number(after text: StaticString) -> UInt64? { after(text)?.leadingNumber()?.value }

  func int32(after text: StaticString) -> Int32? {
    number(after: text).flatMap { Int32(exactly: $0) }
  }
}

/// A signal's number by its name, with or without `SIG`; nil for one that is not known.
func signalNumber(_ name: Substring) -> Int32? {
  let bare = name.hasPrefix("SIG") ? name.dropFirst(3) : name
  let names = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM",
  ]
  return names.firstIndex { bare == $0 }.map { Int32($0 + 1) }
}
