import Evidence
import FoundationEssentials
import LinuxHost
import NginxProbe

/// What the JSON document of a session says of its upstreams.
enum SessionMeasurements {
  private struct Document: Decodable {
    var upstreams: [Upstream]
  }

  private struct Upstream: Decodable {
    var upstream: String
    var causes: [String: Int]?
    var idleTimeout: Estimate?

    enum CodingKeys: String, CodingKey {
      case upstream, causes
      case idleTimeout = "idle_timeout"
    }
  }

  private struct Estimate: Decodable {
    var value: Double
    var count: Int
  }

  /// - Throws: `ProbeError` with the path.
  static func read(_ path: String) throws -> [MeasuredBackend] {
    let bytes = try readFile(path)
    do {
      return try JSONDecoder().decode(Document.self, from: Data(bytes)).upstreams.map { upstream in
        MeasuredBackend(
          upstream: upstream.upstream,
          // One close may have had any reason.
          idleTimeout: upstream.idleTimeout.flatMap {
            $0.count >= 2 ? TimeSpan(seconds: $0.value) : nil
          },
          causes: upstream.causes ?? [:])
      }
    } catch {
      throw ProbeError(
        doing: "read \(path)", reason: "it is no JSON document of a session",
        remedy: "make one with: upclose attach --format json --output \(path)")
    }
  }
}
