import Evidence
import Glibc
import LinuxHost
import ProbeTesting

@testable import TraceProbe

/// A backend of the lab on a free port of 127.0.0.1: a master and its worker.
final class Backend {
  let endpoint: Endpoint
  private let master: Child

  init?() {
    guard let port = Self.freePort() else { return nil }
    endpoint = Endpoint(address: IPAddress(v4: 0x7f00_0001), port: port)
    guard
      let child = Child(
        [
          Self.program, "--listen", endpoint.description, "--idle-timeout", "30",
        ], isQuiet: true)
    else { return nil }
    master = child
    for _ in 0..<3000 where worker == nil { usleep(10_000) }
    // It answers once its worker runs.
    for _ in 0..<100 where get("/") != 0 { usleep(50_000) }
  }

  static let program: String = {
    let own = readLink("/proc/self/exe") ?? ""
    return "\(own.lastIndex(of: "/").map { own[..<$0] } ?? "")/lab-backend"
  }()

  var masterPID: Int32 { master.pid }

  var worker: Int32? { ProcTable().children(master.pid).first }

  /// Asks for a page with a program of its own, and waits for the answer or the end.
  @discardableResult
  func get(_ path: String) -> Int32 {
    Child(
      ["curl", "-s", "-m", "20", "-H", "Connection: close", "http://\(endpoint)\(path)"],
      isQuiet: true)?
      .wait() ?? -1
  }

  deinit {
    kill(master.pid, SIGTERM)
    master.wait()
  }

  static func freePort() -> UInt16? {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let result = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, size) == 0 ? getsockname(descriptor, $0, &size) : -1
      }
    }
    return result == 0 ? UInt16(bigEndian: address.sin_port) : nil
  }
}

/// Our instances in the host's tracing directory.
func tracingInstances() -> [String] {
  guard let root = try? TraceRoot() else { return [] }
  return entries(root, "instances").filter { $0.hasPrefix(TraceInstance.prefix) }
}

extension Collector {
  var acts: [SocketAct] {
    all.compactMap { if case .socketAct(let act) = $0.fact { act } else { nil } }
  }

  var resets: [ResetSent] {
    all.compactMap { if case .resetSent(let reset) = $0.fact { reset } else { nil } }
  }

  var signals: [SignalSent] {
    all.compactMap { if case .signal(let signal) = $0.fact { signal } else { nil } }
  }
}
