public import Evidence
import Glibc
import LinuxHost

/// An nginx with its settings read.
public struct LoadedNginx: Hashable, Sendable {
  public var instance: NginxInstance
  public var settings: NginxSettings
  /// What of it cannot be seen, and what that costs.
  public var blindSpots: [BlindSpot]
  /// The files that were read.
  public var files: [String]
  /// The running nginx; nil when there are only files.
  public var found: FoundNginx?
  /// The configuration itself, with every include in place.
  public var directives: [Directive]
  /// What is known of the program; its version is nil where only files are.
  public var build: NginxBuild
  /// The access logs of `http` that can be followed.
  public var accessLogs: [LogSource] = []
}

extension FoundNginx {
  /// Reads the configuration: as the program itself prints it (`-T`), else from the files.
  /// - Throws: `ConfigurationError` with file and line when neither can be understood.
  public func load(lookup: @escaping AddressLookup = systemLookup) throws -> LoadedNginx {
    var spots: [BlindSpot] = []
    var configuration: NginxConfiguration
    do {
      configuration =
        try dumped() ?? NginxConfiguration(configurationPath, DiskSource(root: mountRoot))
    } catch let error as ProbeError {
      configuration = try NginxConfiguration(configurationPath, DiskSource(root: mountRoot))
      spots.append(
        BlindSpot(
          id: "nginx-configuration",
          what: "nginx did not print its configuration (\(error.reason)); its files were read",
          cost: "settings may differ from those that run"))
    }
    configuration.path = configurationPath
    var reader = SettingsReader(build: build, prefix: prefix, lookup: lookup)
    let options = arguments.directives.flatMap { try? NginxConfiguration.directives(ofOption: $0) }
    reader.read(configuration.directives, options: options ?? [], errorLog: arguments.errorLog)
    let table = ProcessTable(root: proc)
    let logs = LogFinder(nginx: self, table: table).find(
      reader.settings, AccessLogFormats(configuration.directives))
    let instance = NginxInstance(
      master: master, workers: workers, version: build.version?.description,
      configurationPath: configurationPath, errorLogs: logs.error,
      accessLogs: logs.access.map(\.path),
      upstreams: reader.settings.upstreams)
    spots += logs.blindSpots + reader.settings.blindSpots + blindSpots(configuration, table)
    return LoadedNginx(
      instance: instance, settings: reader.settings, blindSpots: spots, files: configuration.files,
      found: self, directives: (options ?? []) + configuration.directives, build: build,
      accessLogs: logs.access)
  }

  /// The configuration as `-T` prints it; nil when the program must not be run: in another namespace
  /// it would see other files, and open its sockets in ours; without root's rights it cannot.
  private func dumped() throws -> NginxConfiguration? {
    guard !isInOtherNetworkNamespace, user == geteuid(), let binary = TrustedBinary(self) else {
      return nil
    }
    let result = try binary.run(["-T"] + arguments.words)
    guard result.code == 0 else {
      let text = String(escapingControlsIn: result.errors.suffix(300))
      throw ProbeError(doing: "run nginx -T", reason: text)
    }
    return try? NginxConfiguration(dump: result.output, from: "nginx -T")
  }

  private func blindSpots(
    _ configuration: NginxConfiguration, _ table: ProcessTable
  ) -> [BlindSpot] {
    var spots: [BlindSpot] = []
    // Workers are all replaced by a reload; a crash replaces one, so the oldest tells.
    let starts = workers(shuttingDown: false).compactMap { table.startTime($0) }
    if let reload = starts.min() {
      let newer = configuration.files.filter { file in
        modified(mountRoot.outside(file)).map { $0 > reload + .seconds(1) } ?? false
      }
      if let first = newer.first {
        let more = newer.count > 1 ? " and \(newer.count - 1) more" : ""
        spots.append(
          BlindSpot(
            id: "nginx-configuration-newer",
            what: "\(first)\(more) changed after the last reload of nginx (\(reload.iso8601()))",
            cost: "settings are those on disk, not those that run",
            remedy: "nginx -s reload, when that is wanted"))
      }
    }
    if isInOtherNetworkNamespace {
      spots.append(
        BlindSpot(
          id: "network-namespace",
          what: "nginx (pid \(master)) runs in another network namespace",
          cost: "its packets are not seen from this one",
          remedy: "nsenter -t \(master) -n upclose attach"))
    }
    if isExecutableDeleted {
      spots.append(
        BlindSpot(
          id: "nginx-replaced",
          what:
            "\(executable ?? "the program") was replaced since nginx started; \(build.product ?? "nginx") runs",
          cost: "a restart will bring another version's defaults"))
    }
    return spots
  }

  private func modified(_ path: String) -> Timestamp? {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    return Timestamp(
      seconds: Int64(status.st_mtim.tv_sec), nanoseconds: Int64(status.st_mtim.tv_nsec))
  }
}

extension LoadedNginx {
  /// An nginx of which there are only files: the output of `nginx -T`, or a configuration file with
  /// what it includes.
  /// - Parameters:
  ///   - path: `-` is the standard input.
  ///   - version: the nginx that ran it, for its defaults; nil when not known.
  ///   - prefix: where relative paths of logs start; nil for nginx's own default.
  /// - Throws: `ConfigurationError` with file and line.
  public init(
    file path: String, version: NginxVersion? = nil, prefix: String? = nil,
    lookup: @escaping AddressLookup = systemLookup
  ) throws {
    let configuration = try NginxConfiguration(givenFile: path)
    var build = NginxBuild()
    build.version = version
    var reader = SettingsReader(build: build, prefix: prefix ?? build.prefix, lookup: lookup)
    reader.read(configuration.directives)
    settings = reader.settings
    files = configuration.files
    directives = configuration.directives
    self.build = build
    blindSpots = reader.settings.blindSpots
    if version == nil {
      blindSpots.append(
        BlindSpot(
          id: "nginx-version", what: "the version of the nginx behind \(path) is not known",
          cost: "defaults are those of 1.19.10 to 1.29.6",
          remedy: "say which: --nginx-version 1.22.1"))
    }
    func paths(_ logs: [LogSetting]) -> [String] {
      logs.compactMap { log in
        if case .file(let path) = log.target { path } else { nil }
      }
    }
    instance = NginxInstance(
      version: version?.description, configurationPath: configuration.path,
      errorLogs: paths(settings.errorLogs), accessLogs: paths(settings.accessLogs),
      upstreams: settings.upstreams)
  }
}

extension NginxSettings {
  /// What the upstreams themselves hide.
  var blindSpots: [BlindSpot] {
    var spots: [BlindSpot] = []
    let servers = upstreams.flatMap(\.servers)
    let sockets = servers.flatMap(\.peers).filter { $0.endpoint == nil }
    if let first = sockets.first {
      let more = sockets.count > 1 ? " and \(sockets.count - 1) more" : ""
      spots.append(
        BlindSpot(
          id: "unix-socket", what: "\(first)\(more): UNIX sockets carry no packets",
          cost: "errors there have no close; only nginx's words and the processes tell"))
    }
    let unknown = servers.filter { $0.peers.isEmpty }
    if let first = unknown.first {
      let more = unknown.count > 1 ? " and \(unknown.count - 1) more" : ""
      spots.append(
        BlindSpot(
          id: "upstream-name", what: "no address found for \(first.name)\(more)",
          cost: "connections to it are not watched", remedy: "name them: --upstream ADDRESS:PORT"))
    }
    if let first = undecidedTargets.first {
      let more = undecidedTargets.count > 1 ? " and \(undecidedTargets.count - 1) more" : ""
      spots.append(
        BlindSpot(
          id: "upstream-variable", what: "\(first)\(more): only a request decides its address",
          cost: "connections to it are not watched until an error names it",
          remedy: "name them: --upstream ADDRESS:PORT"))
    }
    return spots
  }
}
