/// The stable identifiers of the causes that a verdict may name.
public enum CauseID: String, Hashable, Codable, Sendable, CaseIterable {
  case staleKeepalive = "stale-keepalive"
  case requestLimit = "request-limit"
  case workerRecycle = "worker-recycle"
  case masterTimeout = "master-timeout"
  case killed
  case exited
  case restart
  case nginxReload = "nginx-reload"
  case oomKill = "oom-kill"
  case crash
  case closedWithoutResponse = "closed-without-response"
  case headerTooLarge = "header-too-large"
  case bodyTooLarge = "body-too-large"
  case schemeMismatch = "scheme-mismatch"
  case conntrack
  case middlebox
  case notListening = "not-listening"
  case acceptQueueOverflow = "accept-queue-overflow"
  case nginxLimits = "nginx-limits"
  case nginxClosedFirst = "nginx-closed-first"
  case peersDisabled = "peers-disabled"
  case truncatedResponse = "truncated-response"
  case changedDefaults = "changed-defaults"
  case unreachable
  case nameResolution = "name-resolution"
  case tlsFailure = "tls-failure"
  case invalidResponse = "invalid-response"
  case unknown
}
