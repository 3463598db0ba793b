// Churns connections on the loopback while the kernel's side is watched, and says what that costs.
//
//     kernel-benchmark [connections a minute] [seconds]
//
// The load is another process (this program again), so that the figures are the probes' own.
import Evidence
import Glibc
import KernelProbe
import LinuxHost
import ProcessProbe
import SocketProbe
import Synchronization
import TraceProbe

func now() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

func processorTime() -> Double {
  var usage = rusage()
  getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
  return Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
    + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6
}

func loopback(_ port: UInt16) -> sockaddr_in {
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_port = port.bigEndian
  address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
  return address
}

func withSocketAddress(_ port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32)
  -> Int32
{
  withUnsafePointer(to: loopback(port)) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
    }
  }
}

/// Opens, uses and closes connections at a steady rate; the server closes first.
func churn(port: UInt16, perMinute: Int, seconds: Double) -> Never {
  let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
  let listener = socket(AF_INET, type, 0)
  var one: Int32 = 1
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, 4)
  guard withSocketAddress(port, { bind(listener, $0, $1) }) == 0, listen(listener, 1024) == 0 else {
    _exit(1)
  }
  let start = now()
  var made = 0
  var failed = 0
  var buffer = [UInt8](repeating: 0, count: 64)
  while now() - start < seconds {
    let due = Int((now() - start) * Double(perMinute) / 60)
    if made + failed >= due {
      usleep(500)
      continue
    }
    let client = socket(AF_INET, type, 0)
    guard withSocketAddress(port, { connect(client, $0, $1) }) == 0 else {
      failed += 1
      close(client)
      continue
    }
    let server = accept(listener, nil, nil)
    write(client, "hello", 5)
    _ = read(server, &buffer, 64)
    write(server, "goodbye", 7)
    close(server)
    _ = read(client, &buffer, 64)
    close(client)
    made += 1
  }
  print("\(made) connections made, \(failed) failed")
  exit(0)
}

/// What was told, by kind.
final class Tally: Sendable {
  private struct State {
    var counts: [String: Int] = [:]
    var owned: Set<Flow> = []
    var totals: [String: Counters] = [:]
  }
  private let state = Mutex(State())

  func take(_ observation: Observation) {
    state.withLock { state in
      switch observation.fact {
      case .socketAct(let act):
        state.counts["\(act.role) \(act.act)", default: 0] += 1
        if act.role == .responder, let flow = act.flow { state.owned.insert(flow) }
      case .socketDeath(let death): state.counts["\(death.role) death", default: 0] += 1
      case .socket: state.counts["sampled socket", default: 0] += 1
      case .counters(let counters): state.totals[counters.source] = counters
      default: state.counts["other", default: 0] += 1
      }
    }
  }

  func report() {
    state.withLock { state in
      for (name, count) in state.counts.sorted(by: { $0.key < $1.key }) {
        print("  \(name): \(count)")
      }
      print("  flows with the owner that closed them: \(state.owned.count)")
      for (source, counters) in state.totals.sorted(by: { $0.key < $1.key }) {
        print("  \(source): \(counters.seen) seen, \(counters.lost) lost")
      }
    }
  }
}

func watch(perMinute: Int, seconds: Int) throws {
  let port: UInt16 = 39_191
  let endpoint = Endpoint(address: IPAddress(v4: 0x7f00_0001), port: port)
  let processes = ProcessProbe()
  let trace = TraceProbe(watching: [endpoint])
  let probes: [any Probe] = [
    KernelProbe(includeHistory: nil), processes, SocketProbe(watching: [endpoint]), trace,
  ]
  let tally = Tally()
  for probe in probes { try probe.open() }
  for probe in probes {
    try probe.start { observation in
      switch observation.fact {
      case .socket(let sighting): processes.find(inodes: CollectionOfOne(sighting.inode))
      case .process(let sighting): trace.know(sighting.process)
      default: break
      }
      tally.take(observation)
    }
  }
  usleep(1_000_000)
  let (before, start) = (processorTime(), now())
  var load: pid_t = 0
  let words = ["/proc/self/exe", "--churn", "\(port)", "\(perMinute)", "\(seconds)"]
  var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
  guard posix_spawn(&load, "/proc/self/exe", nil, nil, &arguments, environ) == 0 else { exit(2) }
  var status: Int32 = 0
  waitpid(load, &status, 0)
  let (used, elapsed) = (processorTime() - before, now() - start)
  usleep(500_000)
  for probe in probes { probe.stop() }
  print("\(perMinute) connections a minute for \(seconds) s, all of the kernel's side watched:")
  tally.report()
  let percent = (used / elapsed * 1000).rounded() / 10
  print("  processor: \(percent) % of one core, in \((elapsed * 10).rounded() / 10) s")
}

let arguments = CommandLine.arguments
if arguments.count == 5, arguments[1] == "--churn", let port = UInt16(arguments[2]),
  let rate = Int(arguments[3]), let seconds = Double(arguments[4])
{
  churn(port: port, perMinute: rate, seconds: seconds)
}
let numbers = arguments.dropFirst().compactMap { Int($0) }
do {
  try watch(perMinute: numbers.first ?? 50_000, seconds: numbers.dropFirst().first ?? 60)
} catch {
  print("\(error)")
  exit(2)
}
