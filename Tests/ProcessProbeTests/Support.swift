import Evidence
import Glibc
import ProbeTesting

/// A listening TCP socket of the loopback.
final class Listener {
  let descriptor: Int32
  let inode: UInt64

  init?() {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    var status = stat()
    inode = fstat(descriptor, &status) == 0 ? UInt64(status.st_ino) : 0
    guard descriptor >= 0, listen(descriptor, 16) == 0 else { return nil }
  }

  deinit { close(descriptor) }
}

extension Collector {
  var processes: [ProcessSighting] {
    all.compactMap { if case .process(let sighting) = $0.fact { sighting } else { nil } }
  }

  var exits: [ProcessExit] {
    all.compactMap { if case .processExit(let exit) = $0.fact { exit } else { nil } }
  }
}
