public import Evidence

/// A fault that the lab has made, and what ought to be said about it. The truth comes from who did
/// it, never from upclose.
public struct InjectedFault: Hashable, Codable, Sendable, Identifiable {
  /// In order of injection, from 1.
  public var id: Int
  public var kind: Kind
  /// What was done, as `backend A closed the connection without an answer`.
  public var what: String
  public var method: String
  /// The request's path, unique in the run: nginx's error line, the access log and the packets have
  /// the same one.
  public var path: String
  /// The backend that the fault concerns; nil when it concerns both.
  public var backend: Endpoint?
  /// What nginx's error line names as its upstream.
  public var upstream: UpstreamPeer
  /// The request was sent, and its answer read, between these.
  public var begin: Timestamp
  public var end: Timestamp
  /// What the client got.
  public var clientStatus: Int
  /// The nginx worker that took the request.
  public var nginxWorker: Int32
  /// The backend's worker that was hit; nil when there was none.
  public var backendWorker: Int32?
  /// The kind of nginx's error line.
  public var expectedMessage: NginxMessage
  /// The cause that a verdict ought to name, as `oom-kill`.
  public var expectedCause: String

  public enum Kind: String, Hashable, Codable, Sendable, CaseIterable {
    case closeWithoutAnswer
    case lingerReset
    case crash
    case oomKill
    case impatientNginx
    case staleKeepalive
    case stoppedBackend
    case peersDisabled
  }
}

extension InjectedFault {
  /// One line of JSON, with the times in UTC.
  var json: String {
    let pairs: [(String, String?)] = [
      ("id", "\(id)"), ("kind", quoted(kind.rawValue)), ("what", quoted(what)),
      ("method", quoted(method)), ("path", quoted(path)),
      ("backend", backend.map { quoted($0.description) }),
      ("upstream", quoted(upstream.description)),
      ("begin", quoted(begin.description)), ("end", quoted(end.description)),
      ("clientStatus", "\(clientStatus)"), ("nginxWorker", "\(nginxWorker)"),
      ("backendWorker", backendWorker.map { "\($0)" }),
      ("expectedMessage", quoted(expectedMessage.rawValue)),
      ("expectedCause", quoted(expectedCause)),
    ]
    return "{" + pairs.map { "\"\($0.0)\":\($0.1 ?? "null")" }.joined(separator: ",") + "}"
  }

  /// Everything in it was written by the lab: no text here needs escaping.
  private func quoted(_ text: String) -> String { "\"\(text)\"" }
}
