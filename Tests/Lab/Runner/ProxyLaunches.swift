import Evidence
import Glibc
import LabWorld
import LinuxHost

/// Web servers and proxies as backends.
extension Launch {
  static func nginx(_ spec: Scenario.BackendSpec, _ site: Site) throws -> Launch {
    let isSecure = spec.parameters["tls"] != nil
    var tls = ""
    if isSecure {
      let (key, certificate) = try makeCertificate(site)
      tls = "ssl_certificate \(certificate); ssl_certificate_key \(key);"
      if let protocols = spec.parameters["protocols"] { tls += " ssl_protocols \(protocols);" }
    }
    let directory = site.file("\(spec.name).nginx")
    guard mkdir(directory, 0o755) == 0 || errno == EEXIST else {
      throw ProbeError(doing: "make \(directory)", reason: errorText(errno))
    }
    let file = "\(directory)/nginx.conf"
    // The deeds come from its own access log: it knows nginx's port of each request.
    try writeFile(
      """
      daemon off; worker_processes \(spec["workers", default: "1"]); user root;
      pid \(directory)/nginx.pid; error_log \(directory)/error.log info;
      events { worker_connections 512; }
      http {
        log_format deeds '$lab_token $pid $remote_port served';
        map $uri $lab_token { ~(?<found>lab[0-9x]+z)$ $found; default -; }
        access_log \(site.file("\(spec.name).deeds")) deeds;
        client_body_temp_path \(directory)/b; proxy_temp_path \(directory)/p;
        fastcgi_temp_path \(directory)/f; uwsgi_temp_path \(directory)/u;
        scgi_temp_path \(directory)/s;
        keepalive_timeout \(spec["keepalive", default: "60s"]);
        keepalive_requests \(spec["requests", default: "1000"]);
        client_max_body_size \(spec["body", default: "1m"]);
        server {
          listen \(site.endpoint)\(isSecure ? " ssl" : ""); \(tls)
          location / { return 200 "ok\\n"; }
          location ~ /fault/close/ { return 444; }
          location ~ /fault/slow/ { proxy_pass http://127.0.0.1:9; }
          location ~ /fault/big/ { add_header X-Big \(String(repeating: "a", count: 1500))$uri;
            add_header X-Bigger \(String(repeating: "b", count: 3500)); return 200 "big\\n"; }
        }
      }

      """, to: file)
    guard let program = findProgram("nginx") else {
      throw ProbeError(doing: "find nginx", reason: "it is not installed")
    }
    var launch = Launch(
      program: program,
      arguments: ["-p", directory, "-c", file, "-e", "\(directory)/error.log"])
    if isSecure { launch.pass = "proxy_pass https://GROUP;" }
    return launch
  }

  static func apache(_ spec: Scenario.BackendSpec, _ site: Site) throws -> Launch {
    let directory = site.file("\(spec.name).apache")
    guard mkdir(directory, 0o755) == 0 || errno == EEXIST else {
      throw ProbeError(doing: "make \(directory)", reason: errorText(errno))
    }
    let modules = "/usr/lib/apache2/modules"
    let file = "\(directory)/httpd.conf"
    try writeFile("ok\n", to: "\(directory)/ok")
    let loads = ["mpm_prefork", "authz_core", "alias", "reqtimeout", "mime"].map {
      "LoadModule \($0)_module \(modules)/mod_\($0).so"
    }
    try writeFile(
      """
      ServerRoot \(directory)
      ServerName lab.example
      Listen \(site.endpoint)
      PidFile \(directory)/httpd.pid
      ErrorLog \(directory)/error.log
      \(loads.joined(separator: "\n"))
      User www-data
      Group www-data
      TypesConfig /dev/null
      KeepAlive On
      KeepAliveTimeout \(spec["keepalive", default: "5"])
      MaxKeepAliveRequests \(spec["requests", default: "100"])
      MaxConnectionsPerChild \(spec["per-child", default: "0"])
      GracefulShutdownTimeout 1
      StartServers \(spec["workers", default: "8"])
      MinSpareServers \(spec["workers", default: "8"])
      MaxRequestWorkers 64
      DocumentRoot \(directory)
      AliasMatch .* \(directory)/ok
      <Location "/">
        Require all granted
      </Location>

      """, to: file)
    guard let program = findProgram("apache2") else {
      throw ProbeError(doing: "find apache2", reason: "it is not installed")
    }
    return Launch(program: program, arguments: ["-D", "FOREGROUND", "-f", file])
  }

  /// In between: it passes on to a backend of its own that listens behind it on the loopback.
  static func haproxy(_ spec: Scenario.BackendSpec, _ site: Site) throws -> Launch {
    let file = site.file("\(spec.name).haproxy.cfg")
    try writeFile(
      """
      global
        stats socket \(site.file("\(spec.name).haproxy.sock"))
        hard-stop-after 2s
      defaults
        mode http
        timeout connect 1s
        timeout client \(spec["client", default: "30s"])
        timeout server 30s
        timeout http-request 30s
        timeout http-keep-alive \(spec["keepalive", default: "30s"])
      frontend in
        bind \(site.endpoint)
        http-request reject if { path_sub /fault/close/ }
        http-request silent-drop if { path_sub /fault/drop/ }
        http-request return status 200 content-type text/plain string "ok"

      """, to: file)
    guard let program = findProgram("haproxy") else {
      throw ProbeError(doing: "find haproxy", reason: "it is not installed")
    }
    return Launch(program: program, arguments: ["-db", "-W", "-f", file])
  }
}
