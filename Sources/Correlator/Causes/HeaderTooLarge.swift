import Evidence

/// The request's header is larger than the backend takes, and it closes without a word (uWSGI's
/// buffer-size, close-signatures 9).
struct HeaderTooLarge: CauseRule {
  let id = CauseID.headerTooLarge
  let prior = -5.0

  func weigh(_ c: Case) -> [EvidenceItem] {
    let voices = c.voice([.requestTooLarge]).map { [$0] } ?? []
    guard let close = c.close else { return unseen(c) + voices }
    guard close.closer == .responder, (close.responseBytes ?? 0) == 0, !close.requestAfterFIN,
      let bytes = close.requestBytes, var items = size(c, bytes)
    else { return voices }
    items += voices
    if let threshold = c.sizeThreshold, bytes >= threshold.smallestFailed {
      // Size alone parts those that fail from those that do not.
      items.append(EvidenceItem("packets", threshold.words, decibans: 12))
    }
    if let age = MasterTimeout.age(c) {
      let isAtOnce = age < .milliseconds(50)
      items.append(
        EvidenceItem(
          "packets", "it was closed \(age) after the request", decibans: isAtOnce ? 15 : -15,
          time: close.closedAt))
    }
    if c.ownerDied {
      items.append(
        EvidenceItem("processes", "the process that owned it died at that moment", decibans: -30))
    } else if let closer = c.closer, !closer.isExiting {
      items.append(
        EvidenceItem(
          "trace", "\(processName(closer.process)) closed it itself, while it ran", decibans: 14,
          time: closer.time))
    } else if c.watchedProcesses, c.isLocal {
      items.append(EvidenceItem("processes", "no process behind the port ended", decibans: 8))
    }
    return items
  }

  /// Over a UNIX socket only the access log knows the size.
  private func unseen(_ c: Case) -> [EvidenceItem] {
    guard case .unix? = c.line.upstream, c.isEndOfBackend, c.deaths.isEmpty,
      let bytes = c.answer?.attempt(of: c.line)?.bytesSent, var items = size(c, bytes)
    else { return [] }
    if c.watchedProcesses, c.isLocal {
      items.append(EvidenceItem("processes", "no process behind the socket ended", decibans: 8))
    }
    return items
  }

  /// Only uWSGI is known to close like this each time; HTTP servers answer 400 or 431, but on a reused
  /// connection Node destroys the socket (thread 36).
  private func size(_ c: Case, _ bytes: UInt64) -> [EvidenceItem]? {
    if c.line.scheme == "uwsgi" || c.line.scheme == "suwsgi" {
      guard bytes > 4096 else { return nil }
      return [
        EvidenceItem(
          "packets", "the request has \(bytes) bytes, more than uWSGI's default buffer-size (4096)",
          decibans: 22)
      ]
    }
    let request = c.close?.request ?? c.line.request ?? ""
    guard bytes >= 4096, request.hasPrefix("GET ") || request.hasPrefix("HEAD "),
      c.sizeThreshold != nil || bytes >= 8190
    else { return nil }
    return [
      EvidenceItem(
        "packets", "a request without a body has \(bytes) bytes: all of it is header", decibans: 16)
    ]
  }

  func ruledOut(_ c: Case) -> String? {
    guard let close = c.close, close.closer == .responder, close.phase == .awaitingResponse,
      let bytes = close.requestBytes, bytes < 4096
    else { return nil }
    return "the request is small (\(bytes) bytes)"
  }

  func fix(_ c: Case) -> Fix? {
    let largest = c.sizeThreshold?.largestFailed ?? c.close?.requestBytes ?? 4096
    var size: UInt64 = 8192
    while size < largest + largest / 4, size < 65536 { size *= 2 }
    if c.line.scheme != "uwsgi", c.line.scheme != "suwsgi" {
      return Fix(
        text: "raise the backend's limit for headers to \(size) bytes (Node "
          + "--max-http-header-size, Tomcat "
          + "maxHttpHeaderSize, gunicorn --limit-request-field_size), or shrink the cookies",
        tradeOff: "memory per connection of the backend")
    }
    return Fix(
      text: "raise uWSGI's buffer-size to \(size): look for "
        + "\"invalid request block size\" in its log; cookies grow for some users only",
      tradeOff: "memory per uWSGI worker")
  }
}
