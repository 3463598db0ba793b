import Evidence
import Synchronization

/// Resolves a tree of directives into settings.
struct SettingsReader {
  let build: NginxBuild
  /// Where relative paths of logs start (`-p`, or the compiled one).
  let prefix: String
  let lookup: AddressLookup
  private(set) var settings = NginxSettings()
  /// Lower-case names of the `upstream` blocks, by module.
  private var explicit: Set<String> = []
  private var implicit: Set<String> = []
  /// What variables are set to, where that is written out (`set`, `map`).
  private var variables: [String: [String]] = [:]

  init(build: NginxBuild, prefix: String, lookup: @escaping AddressLookup) {
    self.build = build
    self.prefix = prefix
    // The same name may stand in many servers, and a resolver may be slow.
    let cache = LookupCache(lookup)
    self.lookup = { cache[$0] }
  }

  /// - Parameters:
  ///   - options: directives of `-g`, which come before the file's.
  ///   - errorLog: `-e`, instead of the compiled-in path.
  mutating func read(_ main: [Directive], options: [Directive] = [], errorLog: String? = nil) {
    let main = options + main
    if !main.contains(where: { $0.name == "error_log" }) {
      // Written from the start, until one of the main level replaces it.
      settings.errorLogs.append(
        LogSetting(errorLog ?? build.errorLogPath, prefix: prefix, location: nil))
    }
    for module in [Module.http, .stream] {
      for block in main where block.name == module.rawValue {
        collectNames(block.block ?? [], module)
      }
    }
    readLogs(main)
    for module in [Module.http, .stream] {
      for block in main where block.name == module.rawValue {
        readUpstreams(block.block ?? [], module)
        readTargets(block.block ?? [], module)
      }
    }
    addDefaultAccessLog(main)
    settings.fillRetryRules(main)
  }

  enum Module: String {
    case http, stream
  }

  private func key(_ name: String, _ module: Module) -> String {
    "\(module.rawValue) \(name.lowercased())"
  }

  private mutating func collectNames(_ directives: [Directive], _ module: Module) {
    for directive in directives {
      let words = directive.arguments
      switch directive.name {
      case "upstream" where directive.block != nil:
        if let name = words.first { explicit.insert(key(name, module)) }
      case "set" where words.count == 2: variables[words[0], default: []].append(words[1])
      case "map" where words.count == 2:
        for entry in directive.block ?? [] {
          let isOption = ["hostnames", "volatile", "include"].contains(entry.name)
          if !isOption, let value = entry.arguments.first {
            variables[words[1], default: []].append(value)
          }
        }
      default: collectNames(directive.block ?? [], module)
      }
    }
  }

  // MARK: Logs

  private mutating func readLogs(_ directives: [Directive], _ module: Module? = nil) {
    for directive in directives {
      switch directive.name {
      case "error_log":
        guard let path = directive.arguments.first else { continue }
        let level = directive.arguments.dropFirst().compactMap(LogLevel.init(name:)).max()
        add(
          LogSetting(
            path, prefix: prefix, level: level ?? .error, location: directive.location),
          to: \.errorLogs)
      case "access_log":
        guard let path = directive.arguments.first, path != "off" else { continue }
        var log = LogSetting(path, prefix: prefix, level: .info, location: directive.location)
        // Those of sessions have formats of their own.
        if module == .http {
          log.format =
            directive.arguments.dropFirst().first { !$0.contains("=") && $0 != "gzip" }
            ?? "combined"
        }
        add(log, to: \.accessLogs)
      default:
        readLogs(directive.block ?? [], Module(rawValue: directive.name) ?? module)
      }
    }
  }

  private mutating func add(
    _ log: LogSetting, to logs: WritableKeyPath<NginxSettings, [LogSetting]>
  ) {
    if log.target == .file("/dev/null") { return }
    if let index = settings[keyPath: logs].firstIndex(where: { $0.target == log.target }) {
      // Two levels may write to one file; it shows what the more talkative one writes.
      let level = max(settings[keyPath: logs][index].level, log.level)
      settings[keyPath: logs][index].level = level
      return
    }
    settings[keyPath: logs].append(log)
  }

  private mutating func addDefaultAccessLog(_ main: [Directive]) {
    let http = main.filter { $0.name == "http" }.flatMap { $0.block ?? [] }
    guard !http.isEmpty, !http.contains(where: { $0.name == "access_log" }) else { return }
    var log = LogSetting(build.accessLogPath, prefix: prefix, level: .info, location: nil)
    log.format = "combined"
    add(log, to: \.accessLogs)
  }

  // MARK: Upstreams

  private mutating func readUpstreams(_ directives: [Directive], _ module: Module) {
    for directive in directives where directive.name == "upstream" {
      guard let name = directive.arguments.first, let block = directive.block else { continue }
      // Escaped as names in the error log are, with which they are compared.
      let escaped = String(escapingControlsIn: name.utf8)
      var group = UpstreamGroup(name: escaped, servers: [], location: directive.location)
      var keepalive: Int? = defaultKeepalive(module)
      var timeout: TimeSpan?
      var requests: Int?
      for entry in block {
        switch entry.name {
        case "server": if let server = server(entry, module) { group.servers.append(server) }
        case "zone": group.hasZone = true
        case "keepalive": keepalive = entry.arguments.first.flatMap { Int($0) }
        case "keepalive_timeout": timeout = entry.arguments.first.flatMap(parseTime)
        case "keepalive_requests": requests = entry.arguments.first.flatMap { Int($0) }
        default: break
        }
      }
      if let keepalive, keepalive > 0 {
        group.keepalive = keepalive
        if !block.contains(where: { $0.name == "keepalive" }) { group.keepaliveIsDefault = true }
        // Neither directive existed before 1.15.3: connections were kept until the peer closed.
        let hasLimits = build.version.map { $0 >= NginxVersion(1, 15, 3) } ?? true
        group.keepaliveTimeout = timeout ?? (hasLimits ? .seconds(60) : nil)
        group.keepaliveRequests = requests ?? (hasLimits ? defaultRequests : nil)
      }
      settings.upstreams.append(group)
    }
  }

  /// On for `upstream` blocks of `http` since 1.29.7 (`keepalive 32 local`); off before.
  private func defaultKeepalive(_ module: Module) -> Int? {
    guard module == .http, let version = build.version else { return nil }
    return version >= NginxVersion(1, 29, 7) ? 32 : nil
  }

  /// 1000 since 1.19.10, 100 before (src/http/modules/ngx_http_upstream_keepalive_module.c).
  private var defaultRequests: Int {
    build.version.map { $0 < NginxVersion(1, 19, 10) } ?? false ? 100 : 1000
  }

  private func server(_ directive: Directive, _ module: Module) -> UpstreamServer? {
    guard let written = directive.arguments.first else { return nil }
    let address = UpstreamAddress(written[...])
    var server = UpstreamServer(
      name: String(escapingControlsIn: written.utf8),
      peers: address?.peers(defaultPort: module == .http ? 80 : nil, lookup) ?? [])
    for word in directive.arguments.dropFirst() {
      if let value = word[...].value(after: "max_fails="), let number = Int(value) {
        server.maxFails = number
      } else if let value = word[...].value(after: "fail_timeout="),
        let time = parseTime(String(value))
      {
        server.failTimeout = time
      } else if let value = word[...].value(after: "max_conns="), let number = Int(value) {
        server.maxConnections = number > 0 ? number : nil
      } else if word == "backup" {
        server.isBackup = true
      } else if word == "down" {
        server.isDown = true
      }
    }
    return server
  }

  // MARK: Targets

  private static let passes: Set<String> = [
    "proxy_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass", "grpc_pass", "memcached_pass",
  ]

  private mutating func readTargets(_ directives: [Directive], _ module: Module) {
    for directive in directives {
      if Self.passes.contains(directive.name), directive.block == nil {
        guard let target = directive.arguments.first else { continue }
        readTarget(target, directive, module, depth: 0)
      } else if directive.name != "upstream" {
        readTargets(directive.block ?? [], module)
      }
    }
  }

  private mutating func readTarget(
    _ target: String, _ directive: Directive, _ module: Module, depth: Int
  ) {
    let authority = Authority(target, isURL: directive.name == "proxy_pass" && module == .http)
    guard !authority.hasVariable else {
      let choices = depth < 4 ? substitutions(target) : nil
      guard let choices else {
        let written = String(escapingControlsIn: target.utf8)
        let text = "\(directive.name) \(written) (\(directive.location))"
        if !settings.undecidedTargets.contains(text) { settings.undecidedTargets.append(text) }
        return
      }
      for choice in choices { readTarget(choice, directive, module, depth: depth + 1) }
      return
    }
    guard let address = UpstreamAddress(authority.text) else { return }
    if case .host(let name, _) = address, explicit.contains(key(name, module)) {
      let lowered = name.lowercased()
      note(directive) { $0.isExplicit && $0.name.lowercased() == lowered }
      return
    }
    let peers = address.peers(defaultPort: authority.defaultPort, lookup)
    let written = String(escapingControlsIn: authority.text.utf8)
    guard implicit.insert("\(key(written, module)) \(authority.defaultPort ?? 0)").inserted else {
      note(directive) { !$0.isExplicit && $0.servers.first?.name == written }
      return
    }
    settings.upstreams.append(
      UpstreamGroup(
        name: address.groupName, isExplicit: false,
        servers: [UpstreamServer(name: written, peers: peers)], location: directive.location))
    note(directive) { !$0.isExplicit && $0.servers.first?.name == written }
  }

  private mutating func note(_ pass: Directive, leadsTo isIt: (UpstreamGroup) -> Bool) {
    guard let group = settings.upstreams.firstIndex(where: isIt) else { return }
    let target = PassTarget(location: pass.location, group: group)
    if !settings.passes.contains(target) { settings.passes.append(target) }
  }

  /// The target with its first variable replaced by everything that it is set to; nil when that is
  /// not written in the configuration.
  private func substitutions(_ target: String) -> [String]? {
    guard let dollar = target.firstIndex(of: "$") else { return nil }
    var rest = target[target.index(after: dollar)...]
    let isBraced = rest.first == "{"
    if isBraced { rest = rest.dropFirst() }
    let name = rest.prefix { $0 == "_" || $0.isASCII && ($0.isLetter || $0.isNumber) }
    rest = rest.dropFirst(name.count)
    if isBraced { rest = rest.dropFirst() }
    guard let values = variables["$\(name)"], !values.isEmpty, values.count <= 1000 else {
      return nil
    }
    return values.map { target[..<dollar] + $0 + rest }
  }
}

/// Asks for each name once.
private final class LookupCache: Sendable {
  private let known = Mutex<[String: [IPAddress]]>([:])
  private let lookup: AddressLookup

  init(_ lookup: @escaping AddressLookup) { self.lookup = lookup }

  subscript(name: String) -> [IPAddress] {
    if let addresses = known.withLock({ $0[name] }) { return addresses }
    let addresses = lookup(name)
    known.withLock { $0[name] = addresses }
    return addresses
  }
}

/// The host and port of a target, without its scheme and path.
struct Authority {
  var text: Substring
  var hasVariable: Bool
  var defaultPort: UInt16?

  /// - Parameter isURL: of `proxy_pass` in `http`; elsewhere a scheme is optional.
  init(_ target: String, isURL: Bool) {
    var rest = target[...]
    defaultPort = nil
    let schemes: [(String, UInt16?)] = [
      ("http://", 80), ("https://", 443), ("grpc://", nil), ("grpcs://", nil), ("suwsgi://", nil),
      ("uwsgi://", nil), ("scgi://", nil), ("fastcgi://", nil), ("memcached://", nil),
    ]
    let lowered = target.lowercased()
    if let scheme = schemes.first(where: { lowered.hasPrefix($0.0) }) {
      rest = rest.dropFirst(scheme.0.count)
      defaultPort = scheme.1
    }
    if !rest.hasPrefix("unix:") {
      rest = rest.prefix { $0 != "/" && $0 != "?" }
      // `http://10.0.0.1:80$request_uri`: the variable is the path.
      for path in ["$request_uri", "$uri", "$is_args", "$document_uri"] where rest.hasSuffix(path) {
        let before = rest.dropLast(path.count)
        if !before.contains("$"), !before.isEmpty { rest = before }
      }
    }
    text = rest
    hasVariable = rest.contains("$")
  }
}
