import ArgumentParser
import CaptureFile
import Evidence
import Glibc
import PacketProbe
import Report

/// `upclose connections`: every TCP connection of a capture, and how it ended.
struct ConnectionsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "connections",
    abstract: "Every TCP connection of a capture: its state and history, who closed it and how.",
    discussion: """
      Reads pcap and pcapng, also compressed with gzip. `conn_state`, `history`, byte and packet counts are Zeek's; wrong \
      checksums are accepted, since offload makes them. Exits with 2 when the file cannot be read to \
      its end, after printing what stood before.
      """)

  enum Format: String, ExpressibleByArgument, CaseIterable { case text, ndjson }

  @Argument(help: "A pcap or pcapng file, compressed or not, or - for standard input.")
  var file: String

  @Option(
    parsing: .singleValue,
    help: ArgumentHelp(
      "An upstream, whose side is the responder; may be given several times.",
      valueName: "address:port|:port"))
  var upstream: [UpstreamArgument] = []

  @Option(help: "How to print.")
  var format = Format.text

  @Option(help: "Write to this file instead of standard output.")
  var output: String?

  @Flag(help: "No totals.")
  var quiet = false

  func run() throws {
    var options = TrackerOptions.offline
    if !upstream.isEmpty {
      options.upstreams = UpstreamArgument.filter(upstream)
    }
    let out = try LineOutput(path: output)
    let format = format
    var isFirst = true
    let analysis = analyzeCapture(path: file, options: options) { connection in
      out.append { bytes in
        if isFirst, format == .text { bytes.append(contentsOf: ConnectionLine.textHeader.utf8) }
        isFirst = false
        switch format {
        case .text: ConnectionLine.appendText(connection, to: &bytes)
        case .ndjson: ConnectionLine.appendJSON(connection, to: &bytes)
        }
      }
    }
    out.flush()
    let couldRead = analysis.error == nil || analysis.counters.packets > 0
    if format == .text, !quiet, couldRead { writeError(totals(analysis.counters)) }
    if let error = analysis.error { writeError("upclose: \(error)\n") }
    if let failure = out.failure { writeError("upclose: \(failure)\n") }
    if analysis.error != nil || out.failure != nil { throw ExitCode(2) }
  }

  private func totals(_ counters: TrackerCounters) -> String {
    var parts = ["\(counters.packets) packets", "\(counters.connections) connections"]
    let rest: [(UInt64, String)] = [
      (counters.otherTCP, "TCP of other endpoints"),
      (counters.notTCP, "not TCP"), (counters.notIP, "not IP"),
      (counters.fragments, "fragments"), (counters.vxlan, "in VXLAN"), (counters.gre, "in GRE"),
      (counters.ipInIP, "IP in IP"), (counters.duplicates, "seen twice"),
      (counters.truncated, "cut before the end of the TCP header"),
      (counters.malformed, "malformed"), (counters.unknownLink, "of an unknown link type"),
      (counters.evicted, "connections forgotten for want of room"),
    ]
    for (count, what) in rest where count > 0 { parts.append("\(count) \(what)") }
    return parts.joined(separator: ", ") + "\n"
  }
}

/// `10.0.0.1:8080`, `[2001:db8::1]:8080` or `:8080`.
struct UpstreamArgument: ExpressibleByArgument {
  var address: IPAddress?
  var port: UInt16

  static func filter(_ arguments: [Self]) -> UpstreamFilter {
    var filter = UpstreamFilter()
    for argument in arguments {
      if let address = argument.address {
        filter.endpoints.insert(Endpoint(address: address, port: argument.port))
      } else {
        filter.ports.insert(argument.port)
      }
    }
    return filter
  }

  init?(argument: String) {
    if argument.hasPrefix(":"), let port = UInt16(argument.dropFirst()) {
      self.port = port
    } else if let endpoint = Endpoint(argument) {
      address = endpoint.address
      port = endpoint.port
    } else {
      return nil
    }
  }
}

/// Lines on their way to a descriptor, in large writes.
private final class LineOutput {
  private var bytes: [UInt8] = []
  private let descriptor: Int32
  private let path: String
  /// Why writing failed; nothing is written from then on.
  private(set) var failure: String?

  init(path: String?) throws {
    self.path = path ?? "standard output"
    if let path, path != "-" {
      descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
      guard descriptor >= 0 else {
        writeError("upclose: \(path): \(String(cString: strerror(errno)))\n")
        throw ExitCode(2)
      }
    } else {
      descriptor = dup(1)
    }
    bytes.reserveCapacity(1 << 17)
  }

  deinit { close(descriptor) }

  func append(_ body: (inout [UInt8]) -> Void) {
    body(&bytes)
    if bytes.count >= 1 << 16 { flush() }
  }

  func flush() {
    var written = 0
    while written < bytes.count, failure == nil {
      let count = bytes.withUnsafeBytes { raw in
        raw.baseAddress.map { write(descriptor, $0 + written, raw.count - written) } ?? 0
      }
      if count >= 0 {
        written += count
      } else if errno != EINTR {
        failure = "\(path): \(String(cString: strerror(errno)))"
      }
    }
    bytes.removeAll(keepingCapacity: true)
  }
}

private func writeError(_ text: String) {
  var text = text
  text.withUTF8 { bytes in _ = write(2, bytes.baseAddress, bytes.count) }
}
