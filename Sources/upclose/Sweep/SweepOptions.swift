import ArgumentParser
import Evidence
import PortProbe
import Sweep

struct ConnectingOptions: ParsableArguments {
  @Option(help: ArgumentHelp("How long each answer is waited for.", valueName: "time"))
  var timeout = DurationArgument(.seconds(2))

  @Option(help: ArgumentHelp("SYNs a second at most.", valueName: "number"))
  var rate: Double?

  @Option(help: ArgumentHelp("Connects at once at most.", valueName: "number"))
  var inFlight = 4096

  @Option(
    parsing: .singleValue,
    help: ArgumentHelp("Connect from this address; once for each family.", valueName: "address"))
  var bind: [AddressArgument] = []

  @Option(
    help: ArgumentHelp(
      "How long an accepted connection is watched for a reset or close; by default 50 ms, and not "
        + "at all in a sweep of more than 500 targets.", valueName: "time"))
  var settle: DurationArgument?

  @Option(help: "How a connection is closed: fin, or rst (leaves nothing in TIME_WAIT here).")
  var close = ClosingArgument.fin

  func validate() throws {
    guard timeout.span >= .milliseconds(1) else {
      throw ValidationError("--timeout must be 1 ms or more.")
    }
    guard (1...1_000_000).contains(inFlight) else {
      throw ValidationError("--in-flight must be 1 to 1000000.")
    }
    if let rate, !(rate > 0 && rate <= 1e9) {
      throw ValidationError("--rate must be more than 0.")
    }
    let families = bind.map(\.address.isV4)
    guard Set(families).count == families.count else {
      throw ValidationError("--bind takes one address of each family.")
    }
  }

  /// - Parameter count: of targets. A few are looked at closely; a sweep of thousands asks which
  ///   ports are open, and holds nobody's connections.
  func engineOptions(targets count: Int) -> ConnectEngine.Options {
    var options = ConnectEngine.Options()
    options.timeout = timeout.span
    options.settle = settle?.span ?? (count > 500 ? .zero : .milliseconds(50))
    options.closing = close == .fin ? .fin : .rst
    options.sources = bind.map(\.address)
    options.tellsSource = false
    return options
  }
}

struct AskingOptions: ParsableArguments {
  @Flag(help: "Ask whether it speaks TLS (a ClientHello).")
  var tls = false

  @Option(help: ArgumentHelp("Ask for this path: status, time to first byte.", valueName: "path"))
  var http: String?

  @Flag(
    help: """
      Measure the backend's keepalive: the idle time T and the number of requests N after which it \
      closes a connection.
      """)
  var expectKeepalive = false

  @Option(help: ArgumentHelp("Longest T that is waited for.", valueName: "time"))
  var keepaliveIdle = DurationArgument(.seconds(75))

  @Option(help: ArgumentHelp("Largest N that is tried.", valueName: "number"))
  var keepaliveRequests = 1100

  func validate() throws {
    if tls, http != nil {
      throw ValidationError("--http speaks plain HTTP only: it cannot go with --tls.")
    }
    if let http {
      let isPlain = http.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f } && http.hasPrefix("/")
      guard isPlain, http.utf8.count < 8000 else {
        throw ValidationError("--http takes a path that begins with / and has no blanks.")
      }
    }
    guard keepaliveRequests >= 1 else {
      throw ValidationError("--keepalive-requests must be 1 or more.")
    }
  }
}

struct RepeatingOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Again and again, until Ctrl-C or --count.", valueName: "time"))
  var every: DurationArgument?

  @Option(help: ArgumentHelp("Rounds.", valueName: "number"))
  var count: Int?

  @Option(help: ArgumentHelp("Good checks in a row that mean up.", valueName: "number"))
  var rise = 2

  @Option(help: ArgumentHelp("Bad checks in a row that mean down.", valueName: "number"))
  var fall = 2

  @Option(help: ArgumentHelp("How often names are looked up again.", valueName: "time"))
  var resolveEvery = DurationArgument(.seconds(30))

  /// Rounds to make; nil: until it is told to end.
  var rounds: Int? { count ?? (every == nil ? 1 : nil) }
  var isPeriodic: Bool { rounds != 1 }
  var hysteresis: TargetHistory.Hysteresis { .init(rise: rise, fall: fall) }

  func validate() throws {
    if let count, count < 1 { throw ValidationError("--count must be 1 or more.") }
    guard rise >= 1, fall >= 1 else {
      throw ValidationError("--rise and --fall must be 1 or more.")
    }
    if count != nil, count != 1, every == nil {
      throw ValidationError("--count goes with --every.")
    }
  }
}

struct AddressArgument: ExpressibleByArgument {
  var address: IPAddress
  init?(argument: String) {
    guard let address = IPAddress(argument) else { return nil }
    self.address = address
  }
}

enum ClosingArgument: String, ExpressibleByArgument, CaseIterable {
  case fin, rst
}
