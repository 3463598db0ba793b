import Evidence
import Glibc
import LabWorld
import LinuxHost

/// Where a backend may put its files, and what it is made from.
struct Site {
  var directory: String
  /// `Tests/Lab/Apps` of the source tree.
  var apps: String
  var labBackend: String
  var endpoint: Endpoint
  /// Its memory cgroup, if it asked for one.
  var memoryCgroup: MemoryCgroup?

  func file(_ name: String) -> String { "\(directory)/\(name)" }
}

extension Launch {
  /// - Throws: `ProbeError`, `ScenarioError`.
  static func make(_ spec: Scenario.BackendSpec, _ site: Site) throws -> Launch {
    var launch = try server(spec, site)
    // A wrong scheme is a fault of nginx's configuration.
    switch spec.parameters["pass"] {
    case "http": launch.pass = "proxy_pass http://GROUP;"
    case "https": launch.pass = "proxy_pass https://GROUP;"
    default: break
    }
    return launch
  }

  private static func server(_ spec: Scenario.BackendSpec, _ site: Site) throws -> Launch {
    switch spec.kind {
    case "lab": lab(spec, site)
    case "gunicorn": gunicorn(spec, site)
    case "uwsgi": uwsgi(spec, site)
    case "php": try php(spec, site)
    case "node": try node(spec, site)
    case "apache": try apache(spec, site)
    case "haproxy": try haproxy(spec, site)
    case "nginx": try nginx(spec, site)
    default: throw ScenarioError(description: "there is no backend of kind '\(spec.kind)'")
    }
  }

  private static func lab(_ spec: Scenario.BackendSpec, _ site: Site) -> Launch {
    var arguments = [
      "--listen", site.endpoint.description, "--idle-timeout", spec["idle", default: "60"],
      "--name", spec.name, "--workers", spec["workers", default: "1"],
      "--deeds", site.file("\(spec.name).deeds"), "--backlog", spec["backlog", default: "128"],
      "--idle-close", spec["idle-close", default: "fin"],
    ]
    if let limit = spec.parameters["requests"] {
      arguments += ["--request-limit", limit, "--limit-pause", spec["pause", default: "0"]]
    }
    if let group = site.memoryCgroup { arguments += ["--memory-cgroup", group.path] }
    return Launch(program: site.labBackend, arguments: arguments)
  }

  private static func gunicorn(_ spec: Scenario.BackendSpec, _ site: Site) -> Launch {
    var arguments = [
      "--bind", site.endpoint.description, "--chdir", site.apps,
      "--worker-class", spec["class", default: "sync"], "--workers", spec["workers", default: "2"],
      "--threads", spec["threads", default: "1"], "--timeout", spec["timeout", default: "30"],
      "--keep-alive", spec["keepalive", default: "2"],
      "--graceful-timeout", spec["graceful", default: "1"], "--worker-tmp-dir", "/dev/shm",
    ]
    if let limit = spec.parameters["max-requests"] { arguments += ["--max-requests", limit] }
    return inCgroup(
      Launch(
        program: findProgram("gunicorn") ?? "gunicorn", arguments: arguments + ["app:application"],
        environment: ["PYTHONDONTWRITEBYTECODE": "1"]), site)
  }

  private static func uwsgi(_ spec: Scenario.BackendSpec, _ site: Site) -> Launch {
    let unix = spec.parameters["unix"] != nil ? site.file("\(spec.name).sock") : nil
    var arguments = [
      "--plugin", "python3", "--master", "--die-on-term", "--chdir", site.apps,
      "--wsgi-file", "app.py", "--processes", spec["workers", default: "4"],
      "--buffer-size", spec["buffer-size", default: "4096"],
      "--listen", spec["listen", default: "100"], "--socket",
      unix ?? site.endpoint.description,
    ]
    for option in ["harakiri", "max-requests", "max-worker-lifetime", "post-buffering"] {
      if let value = spec.parameters[option] { arguments += ["--\(option)", value] }
    }
    var launch = Launch(
      program: findProgram("uwsgi") ?? "uwsgi", arguments: arguments,
      environment: ["PYTHONDONTWRITEBYTECODE": "1"])
    launch.unixSocket = unix
    launch.pass = "include /etc/nginx/uwsgi_params; uwsgi_pass GROUP;"
    launch.upstream = ""
    return inCgroup(launch, site)
  }

  private static func php(_ spec: Scenario.BackendSpec, _ site: Site) throws -> Launch {
    let unix = spec.parameters["unix"] != nil ? site.file("\(spec.name).sock") : nil
    let file = site.file("\(spec.name).fpm.conf")
    try writeFile(
      """
      [global]
      error_log = \(site.file("\(spec.name).fpm.log"))
      daemonize = no
      [www]
      user = root
      group = root
      listen = \(unix ?? site.endpoint.description)
      pm = static
      pm.max_children = \(spec["workers", default: "4"])
      pm.max_requests = \(spec["max-requests", default: "0"])
      request_terminate_timeout = \(spec["terminate", default: "0"])
      catch_workers_output = yes

      """, to: file)
    guard
      let fpm = ["8.2", "8.3", "8.4", "8.1"].lazy.compactMap({ findProgram("php-fpm\($0)") }).first
    else { throw ProbeError(doing: "find php-fpm", reason: "it is not installed") }
    var launch = Launch(
      program: fpm,
      arguments: ["-F", "-R", "-y", file, "-d", "memory_limit=1G"])
    launch.unixSocket = unix
    launch.pass = """
      include /etc/nginx/fastcgi_params; fastcgi_param SCRIPT_FILENAME \(site.apps)/index.php;
      fastcgi_param LAB_DEEDS \(site.file("\(spec.name).deeds")); fastcgi_pass GROUP;
      """
    launch.upstream = ""
    return inCgroup(launch, site)
  }

  private static func node(_ spec: Scenario.BackendSpec, _ site: Site) throws -> Launch {
    var arguments = [
      "--max-http-header-size=\(spec["header-size", default: "16384"])", "\(site.apps)/server.js",
      site.endpoint.address.description, "\(site.endpoint.port)", spec["workers", default: "2"],
      spec["keepalive", default: "5000"],
    ]
    let isSecure = spec.parameters["tls"] != nil
    if isSecure {
      let (key, certificate) = try makeCertificate(site)
      arguments += [key, certificate]
    }
    var launch = Launch(program: findProgram("node") ?? "node", arguments: arguments)
    if isSecure { launch.pass = "proxy_pass https://GROUP;" }
    return inCgroup(launch, site)
  }

  /// The whole server in a memory cgroup, as a container is.
  private static func inCgroup(_ launch: Launch, _ site: Site) -> Launch {
    guard let group = site.memoryCgroup else { return launch }
    var launch = launch
    launch.arguments =
      ["-c", "echo 0 > \(group.path)/cgroup.procs && exec \"$@\"", "sh", launch.program]
      + launch.arguments
    launch.program = "/bin/sh"
    return launch
  }

  /// A self-signed certificate for `lab.example`, made once in a world.
  static func makeCertificate(_ site: Site) throws -> (key: String, certificate: String) {
    let (key, certificate) = (site.file("lab.key"), site.file("lab.crt"))
    if access(certificate, F_OK) != 0 {
      try runProgram(
        findProgram("openssl") ?? "openssl",
        [
          "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
          "2", "-subj", "/CN=lab.example", "-keyout", key, "-out", certificate,
        ], output: site.file("openssl.out"))
    }
    return (key, certificate)
  }
}
