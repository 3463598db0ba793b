import Evidence
import Glibc
import LabWorld
import LinuxHost
import Synchronization

/// One injected fault, as who injected it knows it. Nothing in here comes from nginx's logs or from
/// upclose.
struct Truth: Sendable {
  /// Unique in the world, and part of the request's path: `lab3x17z`.
  var token: String
  /// As the scenario names it.
  var kind: String
  var cause: String
  /// The backend's name; nil: it is known by whose application did it.
  var backend: String?
  /// What nginx's error line names, where it is no backend.
  var group: String?
  var close = Close.wire
  /// The backend's own application must say that it did it.
  var needsDeed = true
  var answer: Answer

  enum Close: Equatable, Sendable {
    /// The connection that the request's bytes travelled on.
    case wire
    /// No byte of the request was sent: one of the connections that were opened to that backend while
    /// the request lasted.
    case opened
    /// nginx's port is known from an earlier request on it.
    case port(UInt16)
    /// There is none: nothing was sent.
    case nothing
  }
}

/// Collects what the injecting threads have done.
final class TruthBook: Sendable {
  private struct State {
    var truths: [Truth] = []
    /// Injections that did not come to be what they were meant to be, and why.
    var failed: [String: Int] = [:]
  }
  private let state = Mutex(State())

  func add(_ truth: Truth) { state.withLock { $0.truths.append(truth) } }

  func addFailure(_ kind: String, _ reason: String) {
    state.withLock { $0.failed["\(kind): \(reason.prefix(160))", default: 0] += 1 }
  }

  var truths: [Truth] { state.withLock { $0.truths } }
  var failures: [String: Int] { state.withLock { $0.failed } }
}

/// What the backends themselves wrote just before they did what a request asked for: a line
/// `TOKEN PID PORT WORD`, the port being nginx's (0 where a backend cannot know it).
struct Deed: Sendable {
  var pid: pid_t
  var port: UInt16
  var word: String

  /// - Parameter path: of the file that the backend appends to.
  static func of(_ token: String, in path: String) -> Deed? {
    all(in: path)[token]
  }

  static func all(in path: String) -> [String: Deed] {
    var deeds: [String: Deed] = [:]
    forEachLine(of: path) { token, deed in deeds[token] = deed }
    return deeds
  }

  static func forEachLine(of path: String, _ body: (String, Deed) -> Void) {
    guard let bytes = try? readFile(path) else { return }
    for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
      let words = line.split(separator: " ")
      guard words.count == 4, let pid = pid_t(words[1]), let port = UInt16(words[2]) else {
        continue
      }
      body(String(words[0]), Deed(pid: pid, port: port, word: String(words[3])))
    }
  }
}
