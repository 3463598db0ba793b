/// The variables of a `log_format` that upclose reads; all others are passed over.
enum AccessField: Int, CaseIterable {
  case status, msec, timeISO, timeLocal, worker, connection, connectionRequests
  case client, request, method, uri, body, contentLength, requestLength, requestTime
  case address, upstreamStatus, connectTime, headerTime, responseTime, bytesSent, bytesReceived

  /// - Parameter variable: without its dollar.
  init?(_ variable: String) {
    switch variable {
    case "status": self = .status
    case "msec": self = .msec
    case "time_iso8601": self = .timeISO
    case "time_local": self = .timeLocal
    case "pid": self = .worker
    case "connection": self = .connection
    case "connection_requests": self = .connectionRequests
    case "remote_addr": self = .client
    case "request": self = .request
    case "request_method": self = .method
    case "request_uri": self = .uri
    case "body_bytes_sent": self = .body
    case "sent_http_content_length": self = .contentLength
    case "request_length": self = .requestLength
    case "request_time": self = .requestTime
    case "upstream_addr": self = .address
    case "upstream_status": self = .upstreamStatus
    case "upstream_connect_time": self = .connectTime
    case "upstream_header_time": self = .headerTime
    case "upstream_response_time": self = .responseTime
    case "upstream_bytes_sent": self = .bytesSent
    case "upstream_bytes_received": self = .bytesReceived
    default: return nil
    }
  }

  /// Whether it has a value for each try, separated by `, ` and ` : `.
  static func isPerTry(_ variable: String) -> Bool { variable.hasPrefix("upstream_") }
}
