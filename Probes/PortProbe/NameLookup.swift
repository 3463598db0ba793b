import CLinux
public import Evidence
import Glibc
import LinuxHost
import Synchronization

/// Looks names up on a thread of its own, again and again, since a resolver may take seconds to say
/// that it does not know.
public final class NameLookup: Sendable {
  /// What one name resolves to now.
  public struct Answer: Hashable, Sendable {
    public var name: String
    /// Sorted; empty when it could not be resolved.
    public var addresses: [IPAddress]
    /// Why there are none.
    public var failure: String?
  }

  /// Becomes readable when `take` has something.
  public let descriptor: Int32
  private let names: [String]
  private let interval: TimeSpan
  private let answers = Mutex<[Answer]>([])
  private let thread = Mutex<ProbeThread?>(nil)

  /// - Parameters:
  ///   - names: each once.
  ///   - interval: between two rounds of look-ups, at least 100 ms.
  public init(_ names: [String], interval: TimeSpan) {
    self.names = names
    self.interval = max(interval, .milliseconds(100))
    descriptor = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
  }

  deinit {
    stop()
    close(descriptor)
  }

  /// - Throws: `ProbeError` when there can be no thread.
  public func start() throws {
    let milliseconds = Int32(clamping: interval.nanoseconds / 1_000_000)
    let started = try ProbeThread.start("upclose-names") { [self] thread in
      repeat {
        for name in names where !thread.shouldStop { put(Self.resolve(name)) }
      } while thread.sleep(milliseconds: milliseconds)
    }
    thread.withLock { $0 = started }
  }

  /// A look-up that is under way is waited for.
  public func stop() { thread.withLock { $0.take() }?.stop() }

  private func put(_ answer: Answer) {
    answers.withLock { $0.append(answer) }
    var one: UInt64 = 1
    _ = write(descriptor, &one, 8)
  }

  /// The answers that came since it was last asked.
  public func take() -> [Answer] {
    var value: UInt64 = 0
    _ = read(descriptor, &value, 8)
    return answers.withLock { answers in
      defer { answers = [] }
      return answers
    }
  }

  /// All addresses of a name, of both families; blocks as long as the resolver does.
  public static func resolve(_ name: String) -> Answer {
    var hints = addrinfo()
    hints.ai_family = AF_UNSPEC
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    let result = getaddrinfo(name, nil, &hints, &list)
    guard result == 0 else {
      let text = result == EAI_SYSTEM ? errorText(errno) : String(cString: gai_strerror(result))
      return Answer(name: name, addresses: [], failure: text)
    }
    defer { freeaddrinfo(list) }
    var found: Set<IPAddress> = []
    var entry = list
    while let info = entry {
      let bytes = UnsafeRawBufferPointer(
        start: info.pointee.ai_addr, count: Int(info.pointee.ai_addrlen))
      if let address = endpoint(ofSocketAddress: bytes)?.address { found.insert(address) }
      entry = info.pointee.ai_next
    }
    return Answer(name: name, addresses: found.sorted(), failure: nil)
  }
}
