import Synchronization

/// The inodes of the backends' ends of sockets: who holds one of them is a backend, and may have logs
/// of its own. Written and read by the threads of different probes.
final class BackendInodes: Sendable {
  private let inodes = Mutex<Set<UInt64>>([])
  /// A host without keepalive makes thousands a second, and a process is looked at once.
  private static let most = 100_000

  func add(_ inode: UInt64) {
    inodes.withLock { inodes in
      if inodes.count >= Self.most { inodes.removeAll() }
      inodes.insert(inode)
    }
  }

  func hold(_ held: [UInt64]) -> Bool {
    inodes.withLock { inodes in held.contains { inodes.contains($0) } }
  }
}
