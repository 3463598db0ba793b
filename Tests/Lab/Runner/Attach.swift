import Evidence
import FoundationEssentials
import Glibc
import LabWorld
import LinuxHost

/// `upclose attach` beside a scenario, started and ended as its user does.
struct Attach {
  private var pid: pid_t
  let incidents: String
  let document: String
  private let errors: String

  init(_ bed: Bed) throws {
    incidents = "\(bed.directory)/incidents.ndjson"
    document = "\(bed.directory)/report.json"
    errors = "\(bed.directory)/attach.err"
    pid = try spawn(
      bed.options.upclose,
      [
        "attach", "--pid", "\(bed.nginx.master)", "--incidents", incidents, "--format", "json",
        "--output", document,
      ], output: errors)
    let (pid, incidents, errors) = (pid, incidents, errors)
    try wait(until: "upclose watches", every: 20) {
      guard waitpid(pid, nil, WNOHANG) == 0 else {
        throw ProbeError(doing: "run upclose attach", reason: tail(of: errors))
      }
      return access(incidents, F_OK) == 0
    }
  }

  /// Ctrl-C, and its end.
  /// - Returns: the exit code.
  func end() throws -> Int32 {
    kill(pid, SIGINT)
    let limit = monotonicMilliseconds() + 60_000
    var status: Int32 = 0
    while waitpid(pid, &status, WNOHANG) == 0 {
      if monotonicMilliseconds() > limit {
        kill(pid, SIGKILL)
        waitpid(pid, &status, 0)
        throw ProbeError(doing: "end upclose attach", reason: "it went on for a minute")
      }
      usleep(5000)
    }
    guard status & 0x7f == 0 else {
      throw ProbeError(
        doing: "run upclose attach",
        reason: "it died of signal \(status & 0x7f): \(tail(of: errors))")
    }
    return status >> 8 & 0xff
  }
}

/// What upclose said of one error: the last revision of its incident.
struct Said: Sendable {
  var id: Int
  var request: String?
  var upstream: String?
  var message: String
  var cause: String
  var probability: Double
  var rivals: [String: Double]
  var hasClose: Bool
  /// nginx's port of the close's flow, and whose it is.
  var port: UInt16?
  var responder: String?
  var candidates: Int
  /// The line as it was written.
  var line: String

  private struct Line: Decodable {
    var id: Int
    var request: String?
    var upstream: String?
    var message: String
    var verdict: Cause
    var close: Close?
    var match: Match
    struct Cause: Decodable {
      var cause: String
      var probability: Double
      var rivals: [Rival]
    }
    struct Rival: Decodable {
      var cause: String
      var probability: Double
    }
    struct Close: Decodable {
      var flow: Flow
      struct Flow: Decodable {
        var originator: String
        var responder: String
      }
    }
    struct Match: Decodable { var candidates: Int }
  }

  /// - Parameter path: of what `--incidents` wrote.
  static func read(_ path: String) throws -> [Said] {
    var said: [Int: Said] = [:]
    let decoder = JSONDecoder()
    for text in try readFile(path, limit: 1 << 30).split(separator: UInt8(ascii: "\n")) {
      let line = try decoder.decode(Line.self, from: Data(text))
      said[line.id] = Said(
        id: line.id, request: line.request, upstream: line.upstream, message: line.message,
        cause: line.verdict.cause, probability: line.verdict.probability,
        rivals: line.verdict.rivals.reduce(into: [:]) { $0[$1.cause] = $1.probability },
        hasClose: line.close != nil,
        port: line.close.flatMap { close in
          close.flow.originator.split(separator: ":").last.flatMap { UInt16($0) }
        }, responder: line.close?.flow.responder, candidates: line.match.candidates,
        line: String(decoding: text, as: UTF8.self))
    }
    return said.values.sorted { $0.id < $1.id }
  }

  /// The lab's name of the request in nginx's error line.
  var token: String? { request.flatMap { Wire.token(in: Array($0.utf8)[...]) } }
}

/// Of the document that `--output` wrote: what bears on how the session went.
struct SessionReport: Decodable {
  var incidents: [Incident]
  var findings: [Finding]
  var books: Books

  struct Incident: Decodable { var id: Int }
  struct Finding: Decodable {
    var upstream: String
    var cause: String
    var errors: Int
    var text: String
  }
  struct Books: Decodable {
    var errors: Int
    var unmatched: Int
    var sources: [Source]
  }
  struct Source: Decodable {
    var source: String
    var seen: UInt64
    var lost: UInt64
  }

  static func read(_ path: String) throws -> SessionReport {
    try JSONDecoder().decode(
      SessionReport.self, from: Data(try readFile(path, limit: 1 << 30)))
  }
}
